"""LoRA fine-tuning on accepted rows alone."""
