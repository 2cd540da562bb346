"""A run goes on behind a review: nothing is read or scored again, and the decisions take effect."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from gradgate.attest.approving import EarlierRun
from gradgate.common.files import temporary_folder
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate.accounts import accepted_file, settle_rows
from gradgate.gate.config import GateConfig
from gradgate.gate.findings import TABLES, Findings, files_taken_over
from gradgate.gate.pipeline import STEPS, Steps, honour, judge_again
from gradgate.gate.restore import read_rows
from gradgate.gate.row_files import Row, RowKind
from gradgate.gate.verdict import Verdict


def go_on(earlier: EarlierRun, run: RunFolder, config: GateConfig, steps: Steps) -> Verdict:
    """Decide on the rows of an earlier run anew, with what people have decided by now.

    Args:
        earlier: Whose tables are taken over, and never changed.
        run: A folder for the new run.
        config: Of the earlier run.
        steps: Of which `honour`, `check_flags` and `decide` are taken.

    Raises:
        DataError: The files of the earlier run are not those of its verdict, or the log is broken.
        ConfigError: The log cannot be checked.
    """
    prepared, findings = take_over(earlier, run, _link)
    verdict = judge_again(prepared, findings, config, run, steps)
    kind = RowKind.of_file(accepted_file(earlier.folder.rows))
    rows = _rows(earlier.folder.rows, kind)
    accounts = settle_rows(run, prepared, verdict, kind, rows)
    return replace(verdict, accounts=accounts, files=files_taken_over(run))


def _rows(folder: Path, kind: RowKind) -> Iterator[Row]:
    return (row for _, row in read_rows(folder, kind))


def take_over(
    earlier: EarlierRun, run: RunFolder, link: Callable[[Path, Path], None]
) -> tuple[Prepared, Findings]:
    """Give the new run the tables of the earlier one.

    What is written of them later is written aside and renamed, so that the earlier ones stay.

    Args:
        earlier: Whose tables they are.
        run: A folder without them.
        link: Makes the second path the same file as the first, or a copy.

    Raises:
        DataError: They are not those of the verdict.
    """
    for name in earlier.files:
        path = earlier.folder.path / name
        if name in TABLES:
            link(path, run.path / name)
            path = run.path / name
        earlier.require_file(name, path)
    return Prepared.load(run.path), Findings.load(run)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)


def _point(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def preview(earlier: EarlierRun) -> Verdict:
    """The verdict that going on would come to now; nothing of it is kept."""
    steps = replace(STEPS, honour=lambda d, c, r: honour(d, c, r, earlier.signer))
    with temporary_folder("gradgate-") as folder:
        run = RunFolder(folder)
        prepared, findings = take_over(earlier, run, _point)
        return judge_again(prepared, findings, earlier.config, run, steps)
