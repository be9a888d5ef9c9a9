"""Prefect, and only Prefect: flows and tasks around the functions of the folders below."""
