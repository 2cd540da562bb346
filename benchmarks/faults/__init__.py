"""Scheduled runs, one after another, with random faults: what is lost, wrong or left behind."""
