"""The flows: what Prefect runs."""

from gradgate.telemetry import disable_telemetry

disable_telemetry()
