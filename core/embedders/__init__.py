"""Embedders: one file for each provider in the table of core/embedding.py."""
