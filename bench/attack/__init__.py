"""Attack a filled database by every way in, and look for what the asker may not see."""
