"""Ways in for other frameworks, above the write path and the read path; nothing of ours depends on them."""
