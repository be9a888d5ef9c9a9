"""A document in. Read pipeline.py first."""
