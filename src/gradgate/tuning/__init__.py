"""The training loop, LoRA or full-parameter, in memory; it knows no gate."""
