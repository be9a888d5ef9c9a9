"""Guardrails: checks of questions, evidence, drafts and answers. Read screening.py first."""
