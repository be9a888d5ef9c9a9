"""The way to language models: which one, for how long, at what price, and what happens when it
fails.
"""
