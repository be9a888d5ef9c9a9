"""Shared foundation: types, settings, errors, database, embedding, text."""
