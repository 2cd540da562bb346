"""The score store: what was computed before."""
