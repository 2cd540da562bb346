"""Targets and cues that recur although the prompts do not speak for the targets."""
