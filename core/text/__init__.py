"""Text analysis: terms, sentences, numbers and editions. All that depends on a language is here."""
