"""What lies in the state folder, what of it is still needed, and how the rest is removed."""
