"""Rehearsal: fine-tune briefly on a part of the data, and see what it teaches about the rest."""
