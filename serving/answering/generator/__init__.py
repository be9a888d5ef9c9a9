"""Answer generation with a language model."""
