"""Store: documents, chunks and vectors in PostgreSQL."""
