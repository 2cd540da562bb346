"""Rows of one file, whole and bounded; a row that cannot be read stays a row."""
