"""`python -m flows`: run the flows from the command line."""

import sys

from flows.prefect_environment import exit_on_sigterm, set_prefect_defaults
from gradgate.errors import GradgateError

try:
    exit_on_sigterm()
    set_prefect_defaults()
except GradgateError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

from flows.cli import main

main()
