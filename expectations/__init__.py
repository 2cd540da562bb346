"""Great Expectations: custom expectations, the suites, and validation that fails closed."""

from gradgate.common.environment import set_defaults

set_defaults()  # before great_expectations is imported
