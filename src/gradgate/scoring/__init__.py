"""From prepared samples to the score table."""
