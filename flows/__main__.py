"""`python -m flows`: run the flows from the command line."""

import sys

from flows.environment import prepare_environment
from gradgate.errors import GradgateError

try:
    prepare_environment()
except GradgateError as error:
    sys.exit(f"error: {error}")

from flows.cli import main

main()
