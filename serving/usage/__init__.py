"""Budgets, metering and reports of model usage. Read meter.py first."""
