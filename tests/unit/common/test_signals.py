"""Signals that end a process end it as an exception does."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gradgate.common.signals import undisturbed

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


BUILT = """
import shutil, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from gradgate.{module} import {name}
remove = shutil.rmtree
def slowly(*arguments, **options):
    if any(Path.cwd().glob("*/a file")):
        print("tidying up", flush=True)
        time.sleep(0.3)
    remove(*arguments, **options)
shutil.rmtree = slowly
with {name}({arguments}) as folder:
    (folder / "a file").touch()
    print("built", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("cli.output", "scratch_beside", "Path('out').absolute()"),
        ("common.files", "folder_written_whole", "Path('out').absolute()"),
        ("common.files", "temporary_folder", "'out', Path.cwd()"),
        ("common.files", "work_folder", "Path('out').absolute()"),
    ],
)
def test_a_second_ctrl_c_leaves_nothing_behind_either(
    tmp_path: Path, module: str, name: str, arguments: str
) -> None:
    script = BUILT.format(module=module, name=name, arguments=arguments)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for said in ("built\n", "tidying up\n"):
            assert process.stdout.readline() == said
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_was_put_off_is_raised_and_an_ignored_one_stays_so() -> None:
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    done = []

    def tidy() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGHUP)
            done.append("tidied up")

    try:
        with pytest.raises(KeyboardInterrupt):
            tidy()
        assert done == ["tidied up"]
        with pytest.raises(ValueError, match="a mistake"), undisturbed():
            raise ValueError("a mistake")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_in_another_thread_nothing_is_put_off() -> None:
    done = []

    def tidy() -> None:
        with undisturbed():
            done.append("tidied up")

    thread = threading.Thread(target=tidy)
    thread.start()
    thread.join()
    assert done == ["tidied up"]
