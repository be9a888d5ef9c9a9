"""LlamaIndex integration: retriever, vector store and LLM."""
