"""Language models: routing, providers, deadlines, fallback and prices. Read gateway.py first."""
