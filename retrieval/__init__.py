"""Search: ranked passages that the reader may see. Read retriever.py first."""
