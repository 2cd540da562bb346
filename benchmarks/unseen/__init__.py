"""The text detector on honest data that none of its constants was chosen on."""
