"""Signals that end a process end it as an exception does."""

import signal
import subprocess
import sys

import pytest

WAIT = """
import signal, sys, time
signal.signal(signal.{name}, signal.{action})  # whatever this process was started with
from gradgate.common.signals import exit_on_signals
exit_on_signals()
try:
    signal.raise_signal(signal.{name})
finally:
    print("tidied up")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_ends_the_process_unless_it_is_ignored(name: str, ignored: bool) -> None:
    script = WAIT.format(name=name, action="SIG_IGN" if ignored else "SIG_DFL")
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == (0 if ignored else 128 + signal.Signals[name])
    assert done.stdout == "tidied up\n"


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    script = """
import signal, time
from gradgate.common.signals import exit_on_signals
exit_on_signals()
class Gone:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
Gone()
time.sleep(60)
print("the signal was lost")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
