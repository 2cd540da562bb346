"""`python -m flows`: run the flows from the command line."""

import sys

from flows.prefect_environment import set_prefect_defaults
from gradgate.errors import GradgateError

try:
    set_prefect_defaults()
except GradgateError as error:
    sys.exit(f"error: {error}")

from flows.cli import main

main()
