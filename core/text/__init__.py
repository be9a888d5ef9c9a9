"""Text analysis: everything that depends on a language."""
