"""The parser sandbox: files are parsed in confined child processes."""
