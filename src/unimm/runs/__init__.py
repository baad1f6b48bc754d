"""One run: what it leaves behind (its record), and what makes, opens, scores and continues it."""
