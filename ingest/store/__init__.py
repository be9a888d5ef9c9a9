"""Writing documents, chunks and vectors to PostgreSQL."""
