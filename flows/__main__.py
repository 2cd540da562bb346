"""`python -m flows`: run the flows from the command line."""

import sys

from flows.prefect_environment import set_prefect_defaults
from gradgate.common.signals import exit_on_signals
from gradgate.errors import GradgateError

try:
    # Prefect records the flow run as crashed, and then sends the signal on to this handler.
    exit_on_signals()
    set_prefect_defaults()
except GradgateError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

from flows.cli import main

main()
