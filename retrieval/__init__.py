"""Ranked evidence out. Read retriever.py first."""
