"""The tasks: one thin step each, between the flows and the core."""

from gradgate.telemetry import disable_telemetry

disable_telemetry()  # before prefect and mlflow are imported
