"""Computing a prefix once for all samples that share it."""
