"""The commands, a file for each group; cli/main.py puts them together."""
