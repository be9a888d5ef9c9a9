"""PDF parser."""
