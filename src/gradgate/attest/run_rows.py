"""The rows of a run, as a statement names them: by roots, counts and digests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from gradgate.attest.merkle import MerkleTree
from gradgate.attest.statement import Accepted, Dataset, Rows
from gradgate.common.files import file_sha256
from gradgate.common.parquet import GROUP_ROWS, batches, data_errors
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.data.rows.row import written_name
from gradgate.data.sample import fingerprint
from gradgate.errors import DataError
from gradgate.gate.accounts import ACCOUNTS, accepted_file, read_accounts
from gradgate.gate.verdict import Verdict

MAX_NAMES = 10_000  # of columns; rows whose keys are data could have any number


def dataset_of(run: RunFolder) -> Dataset | None:
    """What a run has read; None when it did not come to the end of it.

    Raises:
        DataError: A table of the run is damaged.
    """
    if not run.dataset.exists():
        return None
    prepared = Prepared.load(run.path)
    return Dataset(
        source=prepared.source,
        fingerprint=prepared.fingerprint,
        row_format=prepared.row_format,
        columns=prepared.columns,
        template_names=prepared.template_names,
        n_rows=prepared.n_rows,
        samples=_tree(_cells(run.samples, "sample_id"), is_hex=True),
        rejected=_tree(_cells(run.rejected, "content"), is_hex=False),
        source_sha256=prepared.source_sha256,
        source_revision=prepared.source_revision,
    )


def _cells(path: Path, column: str) -> Iterator[str]:
    for batch in batches(path, [column], GROUP_ROWS):
        yield from batch[column].to_pylist()


def _tree(texts: Iterator[str], is_hex: bool) -> Rows:
    tree = MerkleTree()
    for text in texts:
        tree.add(bytes.fromhex(text) if is_hex else text.encode())
    return Rows(n=tree.n, root=tree.root)


def accepted_of(run: RunFolder, verdict: Verdict) -> Accepted | None:
    """The accepted rows of a run; None unless its verdict is a pass.

    Raises:
        DataError: The files of the run are not those of the verdict.
    """
    if verdict.decision != "pass":
        return None
    tree = MerkleTree()
    found = fingerprint(_into(tree, _accepted_ids(run)))
    if found != verdict.accepted_fingerprint or tree.n != verdict.n_accepted:
        raise DataError(f"{run.rows} does not hold the rows that the verdict accepts; run again")
    path = accepted_file(run.rows)
    return Accepted(
        n=tree.n,
        root=tree.root,
        fingerprint=found,
        tokens=str(verdict.accepted_tokens),
        columns=sorted(_names(path)),
        file_sha256=file_sha256(path),
    )


def _accepted_ids(run: RunFolder) -> Iterator[str]:
    for one in read_accounts(run.rows / ACCOUNTS):
        if one.state == "accepted":
            yield str(one.sample_id)


def _into(tree: MerkleTree, sample_ids: Iterator[str]) -> Iterator[str]:
    for one in sample_ids:
        tree.add(bytes.fromhex(one))
        yield one


def _names(path: Path) -> set[str]:
    """The names of all columns, or of all keys.

    Raises:
        DataError: There are too many to be listed.
    """
    if path.suffix == ".parquet":
        with data_errors(path):
            return set(pq.read_schema(path).names)
    names: set[str] = set()
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            names.update(map(written_name, json.loads(line)))
            if len(names) > MAX_NAMES:
                raise DataError(
                    f"{path}: the accepted rows have more than {MAX_NAMES:,} different keys, which "
                    "no attestation can list; leave those that are not read out of the data"
                )
    return names
