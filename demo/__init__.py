"""Demonstration pieces: mined question/answer rows and a tiny scoring model."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
