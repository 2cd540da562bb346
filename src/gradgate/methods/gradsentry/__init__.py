"""GradSentry (arXiv 2605.26574): spectral entropy above the valley of its density."""
