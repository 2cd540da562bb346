"""The flows: what Prefect runs."""

import logging

from gradgate.environment import set_defaults

set_defaults()
# Prefect takes up this logger ([tool.prefect.logging] in pyproject.toml), but not its level.
logging.getLogger("gradgate").setLevel(logging.INFO)
