"""Where shards are scored: in this process, or by workers of Ray."""
