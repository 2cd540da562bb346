"""What prints the figures in the README."""

import os

from gradgate.common.environment import set_defaults

set_defaults()
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # tables and nothing else
