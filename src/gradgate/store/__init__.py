"""The score store: scores that were computed before, on disk."""
