"""Integrations with other frameworks. No other package imports them."""
