"""Keys that sign, and the envelopes around what they sign."""
