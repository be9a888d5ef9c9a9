"""Parsers: from a file's bytes to plain text with its structure.

`file_parser.py` is the entry, `registry.py` the table of formats, `builder.py` what each parser
writes to, `limits.py` the resources that one file may use.
"""
