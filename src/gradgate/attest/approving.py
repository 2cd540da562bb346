"""A person decides on groups or rows of a run, whose files are what its verdict was about."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from gradgate.approvals.log import Draft, Keys, append
from gradgate.approvals.record import Action, Entry, GroupEvidence
from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.verification import (
    opened,
    read_predicate,
    refused_by_list,
    refused_by_time,
)
from gradgate.common.files import file_sha256
from gradgate.common.parquet import batches
from gradgate.common.run_folder import RunFolder, flag_column, is_scored
from gradgate.common.state import audit_folder, runs_folder
from gradgate.config import AttestationConfig, check_config
from gradgate.errors import ConfigError, DataError
from gradgate.gate.config import GateConfig
from gradgate.gate.findings import TABLES
from gradgate.gate.pipeline import keys_of
from gradgate.gate.ranges import Range, as_said
from gradgate.gate.verdict import Verdict, parse_verdict

_AGAIN = "run the gate again"
_MAX_NAME, _MAX_REASON = 200, 4_000  # characters
_BATCH_ROWS = 8_192
FindSigner = Callable[[AttestationConfig], CryptoSigner | None]
FindRevoked = Callable[[AttestationConfig], frozenset[str]]


@dataclass(frozen=True)
class EarlierRun:
    """A run whose files are those of its verdict, as its attestation says.

    Attributes:
        folder: Is only read.
        config: That it was made with.
        settings: The same as a mapping, with sections that are not the gate's, such as `finetune`.
        verdict: What it has decided.
        verdict_sha256: Of the file of the verdict.
        signer: Of the gate.
        keys: By which the log of decisions has to be signed.
        expires: When its attestation does, which one that goes on with it does not outlive.
    """

    folder: RunFolder
    config: GateConfig
    settings: Mapping[str, Any]
    verdict: Verdict
    verdict_sha256: str
    signer: CryptoSigner | None
    keys: Keys
    expires: datetime | None

    def require_file(self, name: str, path: Path) -> None:
        """Check that a file is what the verdict rests on.

        Raises:
            DataError: It is missing, or another one.
        """
        digest = self.verdict.files.get(name)
        if digest is None or not path.is_file() or file_sha256(path) != digest:
            raise DataError(f"{path} is not what the verdict of the run rests on; {_AGAIN}")

    @property
    def files(self) -> list[str]:
        """The names of the tables and of the files of rows, in their folders."""
        rows = self.folder.rows.name
        return [*TABLES, *(name for name in self.verdict.files if name.startswith(f"{rows}/"))]


@dataclass(frozen=True)
class Decided:
    """What a person decides: on groups, or on rows by their numbers, or on both.

    Attributes:
        by: Who.
        reason: Why.
        groups: Such as `poisoned:1`.
        pattern: Whether new rows of such groups are kept, too.
    """

    by: str
    reason: str
    action: Action
    groups: Sequence[str] = ()
    rows: Sequence[Range] = ()
    pattern: bool = False


def find_run(name: str) -> RunFolder:
    """The folder of a run by its path, or by its name in the state folder.

    Raises:
        ConfigError: There is none.
    """
    places = [Path(name), runs_folder() / name, runs_folder().parent / name]
    for place in places if name.strip() else []:
        if place.is_dir():
            return RunFolder(place)
    raise ConfigError(
        f"there is no run {name!r}: name its folder, or what it is called in {runs_folder()}"
    )


def open_run(folder: RunFolder, find_signer: FindSigner, find_revoked: FindRevoked) -> EarlierRun:
    """Check a run's attestation, verdict and files, and that people may decide on it.

    Args:
        folder: Of the run.
        find_signer: Finds the gate's key.
        find_revoked: Finds what no longer holds.

    Raises:
        ConfigError: The folder is of no run, or of one that nobody can decide on, or a key is
            missing.
        DataError: The files are not those of the verdict, or its attestation no longer holds.
    """
    if not folder.attestation.is_file() or not folder.verdict.is_file():
        raise ConfigError(
            f"{folder.path} is no run's folder: it has no verdict.json with its attestation.json. "
            "Name one in the state folder, or what DetectionResult.save has made; rows of "
            "`gradgate detect` are put back by `gradgate restore`"
        )
    try:
        run = _checked(folder, find_signer, find_revoked)
    except NotVerifiedError as error:
        raise DataError(f"{folder.attestation}: {error}; {_AGAIN}") from error
    _require_decidable(run)
    for name in run.files:
        run.require_file(name, folder.path / name)
    return run


def _checked(folder: RunFolder, find_signer: FindSigner, find_revoked: FindRevoked) -> EarlierRun:
    sealed = opened(folder.attestation)
    predicate = read_predicate(sealed)
    known = {k: v for k, v in predicate.settings.items() if k in GateConfig.model_fields}
    config = check_config(known, GateConfig, f"the settings in {folder.attestation}")
    signer = find_signer(config.attestation)
    # By its own key alone: former ones are named by what is not known to be the gate's yet.
    own = {} if signer is None else {signer.public_key.keyid: signer.public_key}
    if not own and sealed.signatures:
        raise ConfigError(
            f"{folder.attestation} is signed, and there is no key to check that by; name the "
            "gate's key (GRADGATE_SIGNING_KEY)"
        )
    signed_by = sealed.signed_by(own) if own else None
    if own and signed_by is None:
        raise NotVerifiedError([f"it is not signed by {', '.join(own)}"])
    revoked = find_revoked(config.attestation)
    refusals = [*refused_by_time(predicate), *refused_by_list(sealed, signed_by, revoked)]
    if refusals:
        raise NotVerifiedError(refusals)
    content = folder.verdict.read_bytes()  # once: it may be changed meanwhile
    digest = hashlib.sha256(content).hexdigest()
    if digest != predicate.verdict_sha256:
        raise NotVerifiedError(["verdict.json is another one than it says"])
    verdict = parse_verdict(content, folder.verdict)
    keys, expires = keys_of(config, signer), predicate.expires
    return EarlierRun(folder, config, predicate.settings, verdict, digest, signer, keys, expires)


def _require_decidable(run: EarlierRun) -> None:
    """Refuse what no decision of a person can make a pass of.

    Raises:
        ConfigError: The verdict is an error, or on raw data, or of an earlier version.
    """
    verdict = run.verdict
    why = "; ".join(verdict.reasons)
    if verdict.decision == "error":
        raise ConfigError(
            f"the verdict of {run.folder.path} is error ({why}): something could not be evaluated, "
            f"which nobody can approve; mend it and {_AGAIN}"
        )
    if not verdict.answers:
        raise ConfigError(
            f"the raw data of {run.folder.path} were not fit to be judged ({why}), which nobody "
            f"can approve; mend the source and {_AGAIN}"
        )
    if run.folder.findings.name not in verdict.files:
        raise ConfigError(f"{run.folder.path} was made by an earlier version; {_AGAIN}")


def record(run: EarlierRun, decided: Decided) -> list[tuple[Entry, str]]:
    """Write what a person decides on a run into the log: a line for each group, and one for rows.

    Returns:
        The entries with their digests.

    Raises:
        ConfigError: The person may not decide, or a choice fits no row that was judged.
        DataError: The log is broken.
    """
    _require_may(run, decided.by)
    _require_words(decided)
    if not decided.groups and not decided.rows:
        raise ConfigError("nothing is chosen: name a group (--group poisoned:1) or rows (--rows 3)")
    if decided.pattern and (decided.action != "keep" or decided.rows or not decided.groups):
        raise ConfigError(
            "--pattern says that new rows of a group are yours, too: it goes with --keep and "
            "--group, and without --rows"
        )
    groups = [_group_of(run, name) for name in dict.fromkeys(decided.groups)]
    honest = ", ".join(one.name for one in groups if one.ruling == "honest")
    if decided.action == "keep" and honest:
        raise ConfigError(f"no row is kept out for {honest}: the gate finds it honest")
    drafts = [_draft(run, decided, evidence) for evidence in groups]
    if decided.rows:
        drafts.append(_draft(run, decided, None))
    return append(audit_folder(), drafts, run.signer, run.keys)


def _require_may(run: EarlierRun, by: str) -> None:
    who = run.config.approvals.who
    if not who:
        raise ConfigError(
            "nobody may decide: the configuration of this run names nobody in approvals.who; set "
            f"it (approvals: {{who: [{by}]}}) and {_AGAIN}"
        )
    if by not in who:
        raise ConfigError(
            f"{by!r} may not decide; by approvals.who of this run these may: {', '.join(who)}"
        )


def _require_words(decided: Decided) -> None:
    if not decided.reason.strip() or len(decided.reason) > _MAX_REASON:
        raise ConfigError(
            f"the reason (--reason) is what an auditor reads: 1 to {_MAX_REASON:,} characters"
        )
    if len(decided.by) > _MAX_NAME:
        raise ConfigError(f"a name has at most {_MAX_NAME} characters")


def _group_of(run: EarlierRun, name: str) -> GroupEvidence:
    found = {
        evidence.name: evidence
        for answer in run.verdict.answers
        for group in answer.groups
        for evidence in [GroupEvidence.of(answer.question, answer.method, group)]
    }
    if name not in found:
        known = ", ".join(list(found)[:20]) or "none"
        raise ConfigError(f"the run has no group {name!r}; its groups are: {known}")
    return found[name]


def _draft(run: EarlierRun, decided: Decided, group: GroupEvidence | None) -> Draft:
    """What is recorded of a group; without one, of the rows."""
    ids = _of_rows(run, decided.rows) if group is None else _of_group(run, group)
    return Draft(
        run=run.folder.path.resolve().name,
        verdict_sha256=run.verdict_sha256,
        by=decided.by,
        reason=decided.reason,
        action=decided.action,
        group=group,
        rows=as_said(decided.rows) if group is None else None,
        pattern=decided.pattern,
        questions=[a.question for a in run.verdict.answers] if group is None else [group.question],
        n_rows=len(ids),
        sample_ids=ids,
    )


def _of_group(run: EarlierRun, group: GroupEvidence) -> list[str]:
    """The ids of the samples of a group's rows."""
    questions = [answer.question for answer in run.verdict.answers]
    column = flag_column("groups", group.question, questions)
    found = [
        sample
        for batch in batches(run.folder.flags, ["sample_id", column], _BATCH_ROWS)
        for sample, held in zip(
            batch["sample_id"].to_pylist(), batch[column].to_pylist(), strict=True
        )
        if held is not None and group.id in held
    ]
    if not found:
        raise ConfigError(f"no row of the run is in group {group.name}")
    return found


def _of_rows(run: EarlierRun, rows: Sequence[Range]) -> list[str]:
    """The ids of the samples of rows, each of which has to have a score."""
    wanted = _numbers(rows, run.verdict.n_rows)
    found: dict[int, str] = {}
    for batch in batches(run.folder.flags, ["row", "sample_id", "status"], _BATCH_ROWS):
        scored = is_scored(batch).tolist()
        lines = zip(batch["row"].to_pylist(), batch["sample_id"].to_pylist(), scored, strict=True)
        found |= {row: sample for row, sample, has in lines if has and row in wanted}
    lacking = sorted(wanted - found.keys())
    if lacking:
        raise ConfigError(
            f"row {lacking[0]} is no sample that was judged: it was rejected, or has no score"
        )
    return list(found.values())


def _numbers(rows: Sequence[Range], n_rows: int) -> set[int]:
    beyond = [last for _, last in rows if last >= n_rows]
    if beyond:
        raise ConfigError(f"there is no row {beyond[0]}; the rows are 0 to {n_rows - 1}")
    return {row for first, last in rows for row in range(first, last + 1)}
