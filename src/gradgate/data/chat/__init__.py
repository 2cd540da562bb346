"""Conversations as a model's chat template renders them, and where their texts stand in that."""
