"""HTML parser."""
