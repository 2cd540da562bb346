"""gradgate: a data-quality gate in front of LoRA fine-tuning."""

from importlib.metadata import version

__version__ = version("gradgate")
