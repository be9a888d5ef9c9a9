"""The commands, a file for each group; groundwork.py puts them together."""
