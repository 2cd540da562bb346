"""What answers and flags are worth, held against the truth."""
