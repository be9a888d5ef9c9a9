"""The prompts: a file each, with a head that says which version it is, whose, and what for; `prompt.py` reads them."""
