"""Who is suspicious: the contract of a method, and the methods."""
