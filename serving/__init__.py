"""The read path, from a question to an answer. Read answering/pipeline.py first."""
