"""Ingest runs: the queue, the worker, status and repair."""
