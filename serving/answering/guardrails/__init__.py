"""Guardrails: checks of questions, evidence, drafts and answers; `screening.py` is read first."""
