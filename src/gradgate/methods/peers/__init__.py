"""Other people's detectors, each as its paper has it and with its known failures."""
