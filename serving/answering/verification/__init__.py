"""Verification of generated claims against the evidence."""
