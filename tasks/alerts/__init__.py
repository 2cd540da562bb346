"""Alerts: automations of Prefect that are made from a file, and what their messages say."""
