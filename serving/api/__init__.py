"""HTTP API and web page. Read app.py first."""
