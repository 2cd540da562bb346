"""The flows: what Prefect runs."""

import logging

from gradgate.telemetry import disable_telemetry

disable_telemetry()
# Prefect takes up this logger ([tool.prefect.logging] in pyproject.toml), but not its level.
logging.getLogger("gradgate").setLevel(logging.INFO)
