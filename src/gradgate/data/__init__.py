"""Rows become samples, and samples tokens."""
