"""Parsers for text formats."""
