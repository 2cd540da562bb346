"""What prompts may have in common, and how well that tells their targets."""
