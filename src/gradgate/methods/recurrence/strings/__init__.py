"""Strings of tokens: which recur, and how much they surprise the untuned model."""
