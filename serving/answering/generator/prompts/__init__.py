"""Prompts, one YAML file each. Read template.py first."""
