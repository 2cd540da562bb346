"""What each distinct sample says, and which samples strings are mined in."""
