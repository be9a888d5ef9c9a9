"""The command line, one file a subject. Read main.py first."""
