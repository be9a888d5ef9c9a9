"""What may be asked, what of the evidence may be read, and what of a draft may be said; `policies.py` is read first."""
