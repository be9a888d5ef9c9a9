"""Answering: a question becomes a verified answer or a refusal. Read pipeline.py first."""
