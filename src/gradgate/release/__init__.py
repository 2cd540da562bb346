"""What was learnt: an adapter is tested against its base model before anybody uses it."""
