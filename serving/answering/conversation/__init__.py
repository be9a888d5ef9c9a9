"""Multi-turn conversation: follow-up questions and history. Read conversation.py first."""
