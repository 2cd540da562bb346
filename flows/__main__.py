"""`python -m flows`: run the flows from the command line."""

import sys

from flows.prefect_environment import set_prefect_defaults
from gradgate.errors import GradgateError

try:
    set_prefect_defaults()
except GradgateError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

from flows.cli import main

main()
