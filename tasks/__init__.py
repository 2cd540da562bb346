"""The tasks: one thin step each, between the flows and the core."""

from gradgate.common.environment import set_defaults

set_defaults()  # before prefect and mlflow are imported
