"""The read path: answers, language models, usage and the HTTP API. Read answering/pipeline.py first."""
