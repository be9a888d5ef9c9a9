"""Who may spend how much, and who spent what. Read meter.py first."""
