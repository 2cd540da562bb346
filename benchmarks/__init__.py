"""What prints the figures in the README."""

from gradgate.environment import set_defaults

set_defaults()
