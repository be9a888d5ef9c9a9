"""A grounded answer out. Read answering.py first."""
