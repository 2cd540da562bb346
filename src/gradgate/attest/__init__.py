"""The signed statement on a verdict: written by the gate, verified by whoever trains."""
