"""The command line; commands import what they need when they are called."""
