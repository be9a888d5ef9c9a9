"""Ingest: documents from sources into the store. Read `pipeline.py`, then `stages.py`."""
