"""Attack on a filled database through every interface, for data that the caller may not see."""
