"""Scheduled runs, one after another, with random faults: what is lost, wrong or left behind."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
