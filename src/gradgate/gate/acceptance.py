"""The accepted samples of a gate run: which they are, and that they still are.

A verdict is worth what it is tied to. `accept` walks through the two tables of a run in step and
computes every fingerprint anew, from texts, token ids and loss masks; the gate writes the result
into its verdict, and whoever trains computes it again and compares.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradgate.common.arrays import Marks
from gradgate.common.parquet import batches
from gradgate.common.run_folder import SAMPLE_SCHEMA, SCORE_SCHEMA, RunFolder, is_scored
from gradgate.config import InDoubt
from gradgate.data.sample import Turn, sample_id
from gradgate.data.tokenized import is_tokenized, tokenized_id
from gradgate.data.tokens import Tokens
from gradgate.data.tokens_digest import TokensDigest
from gradgate.errors import DataError, GradgateError
from gradgate.gate.quarantine import dropped, is_open, kept, marks
from gradgate.gate.verdict import Verdict
from gradgate.tuning.rows import COLUMNS, training_batch

_BATCH_ROWS = 256
_ROW = SAMPLE_SCHEMA.field("row")
_CONTENT = ("row", "sample_id", "chat", "turns", "template_inputs")
_SAMPLE_COLUMNS = pa.schema(
    [SAMPLE_SCHEMA.field(name) for name in (*_CONTENT, "input_ids", "is_target")]
)
_FLAG_COLUMNS = pa.schema(
    [
        *(SCORE_SCHEMA.field(n) for n in ("row", "sample_id", "spectral_entropy", "status")),
        *(pa.field(name, pa.bool_()) for name in ("flagged", "in_doubt", "surplus_copy")),
        pa.field("approved", pa.string()),
    ]
)


class NotAcceptedError(GradgateError):
    """No passing verdict covers the files of this run as they are now. Final."""


@dataclass(frozen=True)
class Acceptance:
    """What is accepted of a scored dataset.

    Attributes:
        n_samples: Samples in the tables, the accepted ones included.
        n: Accepted samples; may be 0.
        n_flagged: Samples that were scored and are flagged, and that nobody has decided on.
        n_in_doubt: Samples that were scored and are in doubt, and that nobody has decided on.
        n_kept: Samples that were scored and that people keep.
        n_dropped: Samples that were scored and that people drop.
        n_surplus: Samples that are surplus copies, flagged ones among them.
        dataset_fingerprint: sha256 over the ids of all samples, in row order
            (`gradgate.data.sample.fingerprint`).
        fingerprint: The same over the accepted samples.
        tokens_digest: sha256 over token ids and loss masks of the accepted samples.
    """

    n_samples: int
    n: int
    n_flagged: int
    n_in_doubt: int
    n_kept: int
    n_dropped: int
    n_surplus: int
    dataset_fingerprint: str
    fingerprint: str
    tokens_digest: str


def accept(run_dir: Path, in_doubt: InDoubt = "quarantine") -> Acceptance:
    """Compute which samples of a run are accepted; memory does not depend on how many there are.

    Args:
        run_dir: Holds samples.parquet and flags.parquet.
        in_doubt: The policy, see `accepted`.

    Raises:
        DataError: A table cannot be read, the two do not have the same rows in the same order, or
            a sample's id is not that of its text.
    """
    digests = _Digests()
    for _ in _walk(run_dir, digests, in_doubt):
        pass
    return digests.acceptance()


def accepted(flags: pa.Table | pa.RecordBatch, in_doubt: InDoubt) -> Marks:
    """Which rows of a table of flags may be trained on, should the verdict pass.

    A sample is accepted when it was scored, its entropy is finite, it is known to be no surplus
    copy, nobody drops it, and it is known neither to be flagged nor, unless the policy keeps those,
    to be in doubt; or people keep it.

    Args:
        flags: Some or all of its rows.
        in_doubt: The policy.

    Returns:
        Of shape (n,).
    """
    entropy = flags["spectral_entropy"].to_numpy(zero_copy_only=False).astype(np.float64)
    usable = is_scored(flags) & np.isfinite(entropy)
    usable &= marks(flags["surplus_copy"], False) & ~dropped(flags)
    clear = marks(flags["in_doubt"], False) | (in_doubt == "keep")
    return usable & ((marks(flags["flagged"], False) & clear) | kept(flags))


def require_passing(run_dir: Path, verdict: Verdict) -> None:
    """Check that a run may be trained on.

    Args:
        run_dir: Folder of the run.
        verdict: What the gate decided; verdict.json in the folder is not looked at, since whoever
            can write the tables can write it as well.

    Raises:
        NotAcceptedError: The verdict is another than `pass`, is not about the files as they are
            now, or accepts nothing.
    """
    if run_dir.suffix == ".part":
        raise NotAcceptedError(f"{run_dir} is not finished, or was broken off; {_AGAIN}")
    _check_decision(verdict)
    try:
        _check_covered(verdict, accept(run_dir, verdict.in_doubt))
    except DataError as error:
        raise NotAcceptedError(f"{error}; {_AGAIN}") from error


def write_accepted(run_dir: Path, verdict: Verdict, output: Path) -> Acceptance:
    """Write the training rows, and check while writing that they are those of the verdict.

    Args:
        run_dir: Folder of the gate run.
        verdict: That `require_passing` let through.
        output: Arrow stream file to write, which `datasets.Dataset.from_file` maps into memory:
            `input_ids`, `labels` that are -100 where the loss mask is not set, and `row`, its
            number in the tables of the run.

    Raises:
        NotAcceptedError: The files changed after `require_passing`; `output` must not be used.
        DataError: See `accept`.
    """
    digests = _Digests()
    rows = _walk(run_dir, digests, verdict.in_doubt)
    with pa.ipc.new_stream(output, COLUMNS.append(_ROW)) as writer:
        while chunk := list(islice(rows, _BATCH_ROWS)):
            batch = training_batch((s.input_ids, s.is_target) for s in chunk)
            numbers = pa.array([s.row for s in chunk], _ROW.type)
            writer.write_batch(batch.append_column(_ROW, numbers))
    acceptance = digests.acceptance()
    _check_covered(verdict, acceptance)
    return acceptance


_AGAIN = "run the gate again"


def _check_decision(verdict: Verdict) -> None:
    if verdict.decision != "pass":
        reasons = "; ".join(verdict.reasons)
        raise NotAcceptedError(
            f"the verdict is {verdict.decision!r} ({reasons}); only a dataset with the verdict "
            f"'pass' may be fine-tuned: change the data or the policy and {_AGAIN}"
        )


def _check_covered(verdict: Verdict, found: Acceptance) -> None:
    pairs = {
        "dataset_fingerprint": (verdict.dataset_fingerprint, found.dataset_fingerprint),
        "accepted_fingerprint": (verdict.accepted_fingerprint, found.fingerprint),
        "accepted_tokens": (verdict.accepted_tokens, found.tokens_digest),
    }
    changed = [f"{k} is {now}, not {was}" for k, (was, now) in pairs.items() if was != now]
    if changed:
        raise NotAcceptedError(
            f"the files of this run are not those of its verdict ({'; '.join(changed)}); {_AGAIN}"
        )
    if found.n < 1:
        raise NotAcceptedError(f"none of the {found.n_samples} samples is accepted; {_AGAIN}")


@dataclass(frozen=True, slots=True)
class _Sample:
    row: int
    sample_id: str
    input_ids: npt.NDArray[np.int32]
    is_target: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Score:
    row: int
    sample_id: str
    is_accepted: bool
    is_flagged: bool
    is_in_doubt: bool
    is_kept: bool
    is_dropped: bool
    is_surplus: bool


class _Digests:
    """The fingerprints of an acceptance, one sample at a time."""

    def __init__(self) -> None:
        self.n_samples = self.n = self.n_flagged = self.n_in_doubt = self.n_surplus = 0
        self.n_kept = self.n_dropped = 0
        self.dataset, self.accepted = hashlib.sha256(), hashlib.sha256()
        self.tokens = TokensDigest()

    def add(self, sample: _Sample, score: _Score) -> None:
        self.n_samples += 1
        self.n_flagged += score.is_flagged
        self.n_in_doubt += score.is_in_doubt
        self.n_kept += score.is_kept
        self.n_dropped += score.is_dropped
        self.n_surplus += score.is_surplus
        self.dataset.update(sample.sample_id.encode("ascii"))

    def add_accepted(self, sample: _Sample) -> None:
        self.n += 1
        self.accepted.update(sample.sample_id.encode("ascii"))
        self.tokens.add(sample.input_ids, sample.is_target)

    def acceptance(self) -> Acceptance:
        return Acceptance(
            n_samples=self.n_samples,
            n=self.n,
            n_flagged=self.n_flagged,
            n_in_doubt=self.n_in_doubt,
            n_kept=self.n_kept,
            n_dropped=self.n_dropped,
            n_surplus=self.n_surplus,
            dataset_fingerprint=self.dataset.hexdigest(),
            fingerprint=self.accepted.hexdigest(),
            tokens_digest=self.tokens.hexdigest(),
        )


def _walk(run_dir: Path, digests: _Digests, in_doubt: InDoubt) -> Iterator[_Sample]:
    """Yield the accepted samples in row order and feed all samples to `digests`."""
    run = RunFolder(run_dir)
    samples, scores = _samples(run.samples), _scores(run.flags, in_doubt)
    previous = -1
    for sample, score in zip_longest(samples, scores):
        if sample is None or score is None:
            raise DataError(
                f"{run_dir}: {run.samples.name} and {run.flags.name} differ in length after "
                f"{digests.n_samples} lines"
            )
        if (sample.row, sample.sample_id) != (score.row, score.sample_id):
            raise DataError(
                f"{run_dir}: line {digests.n_samples} is row {sample.row} ({sample.sample_id}) in "
                f"{run.samples.name} and row {score.row} ({score.sample_id}) in "
                f"{run.flags.name}"
            )
        if sample.row <= previous:
            raise DataError(f"{run_dir}: row {sample.row} follows row {previous}")
        previous = sample.row
        digests.add(sample, score)
        if score.is_accepted:
            digests.add_accepted(sample)
            yield sample


def _samples(path: Path) -> Iterator[_Sample]:
    for batch in batches(path, _SAMPLE_COLUMNS, _BATCH_ROWS):
        ids, masks = batch["input_ids"], batch["is_target"]
        if any(column.flatten().null_count for column in (batch["turns"], ids, masks)):
            raise DataError(f"{path}: a turn, a token id or a place of a loss mask is null")
        content = batch.select(list(_CONTENT)).to_pylist()
        for line, input_ids, is_target in zip(content, ids, masks, strict=True):
            if not 0 < len(input_ids) == len(is_target):
                raise DataError(
                    f"{path}: row {line['row']} has {len(input_ids)} token ids and a loss mask of "
                    f"{len(is_target)}"
                )
            yield _Sample(
                row=line["row"],
                sample_id=_checked_id(path, line, input_ids, is_target),
                input_ids=input_ids.values.to_numpy(),
                is_target=is_target.values.to_numpy(zero_copy_only=False),
            )


def _checked_id(path: Path, line: dict[str, Any], input_ids: Any, is_target: Any) -> str:
    """The id of the line's content, which must be the one that stands in the line."""
    turns = [Turn(**turn) for turn in line["turns"]]
    found = sample_id(line["chat"], turns, line["template_inputs"])
    if is_tokenized(turns):
        found = tokenized_id(turns, Tokens(input_ids.as_py(), is_target.as_py()))
    if found != line["sample_id"]:
        raise DataError(
            f"{path}: the id of row {line['row']} is not that of its text "
            f"({line['sample_id']}, computed {found})"
        )
    return found


def _scores(path: Path, in_doubt: InDoubt) -> Iterator[_Score]:
    for batch in batches(path, _FLAG_COLUMNS, _BATCH_ROWS):
        scored = is_scored(batch)
        undecided = scored & is_open(batch)
        columns = (
            accepted(batch, in_doubt),
            undecided & marks(batch["flagged"], True),
            undecided & marks(batch["in_doubt"], True),
            scored & kept(batch),
            scored & dropped(batch),
            marks(batch["surplus_copy"], True),
        )
        ids = (batch[name].to_pylist() for name in ("row", "sample_id"))
        yield from map(_Score, *ids, *(column.tolist() for column in columns))
