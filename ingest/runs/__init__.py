"""Runs: the queue, the worker, their status and repair."""
