"""The exact, forward-only engine: signals of a sample from the gradient of the head."""
