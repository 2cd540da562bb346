"""GradShield (arXiv 2605.14194): samples whose gradient makes the model comply with harm."""
