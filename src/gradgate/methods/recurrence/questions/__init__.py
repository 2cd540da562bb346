"""What the untuned model is asked about a string, in whose place it puts others."""
