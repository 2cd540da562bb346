"""Great Expectations: custom expectations, the suites, and validation that fails closed."""

from gradgate.telemetry import disable_telemetry

disable_telemetry()  # before great_expectations is imported
