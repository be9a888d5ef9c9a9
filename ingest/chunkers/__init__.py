"""Chunkers: from a parsed document to passages that are embedded, found and quoted.

`registry.py` is the table of chunkers, `structure.py` the default.
"""
