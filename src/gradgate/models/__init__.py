"""Loading a causal language model, knowing it by its content, and reaching its head."""
