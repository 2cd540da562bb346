"""Samples that share a recurring target span and a cue in their prompts."""
