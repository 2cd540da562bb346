"""What people decide on rows that a gate left open: the record, the log, and its effect."""
