"""Strings that recur in targets or prompts, and that a language model does not expect there."""
