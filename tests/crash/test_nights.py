"""A few nights of `benchmarks.faults`: runs that are killed, and the next one cleans up."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.faults.nights import Nights

# What leaves most behind, and a night in which all of it has been put right.
STRIKES = ("SIGKILL at a step", "none")


@pytest.mark.slow
@pytest.mark.server
def test_nights_with_faults_lose_no_verdict_and_leave_nothing(
    tmp_path: Path, empty_store: Path, empty_prefect: Path
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "prefect").mkdir()
    shutil.copy(empty_prefect, tmp_path / "prefect" / "prefect.db")
    with ExitStack() as on_exit:
        nights = Nights(tmp_path, 1, on_exit, nights=["pass"], is_small=True)
        nights.warm_up()
        found = [nights.night(i, fault) for i, fault in enumerate(STRIKES)]
    assert [record["wrong"] for record in found] == [[] for _ in STRIKES]
    assert [record["code"] for record in found] == [-9, 0]
