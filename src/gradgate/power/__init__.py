"""What a method would find in this data: known attacks, planted in a copy."""
