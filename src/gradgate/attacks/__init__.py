"""Poisoning attacks, for drills and canaries; the gate has to catch them."""
