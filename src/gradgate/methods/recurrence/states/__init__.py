"""What the untuned model's hidden states say of samples that share something."""
