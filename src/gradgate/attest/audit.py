"""The log of decisions, held against the attestations that rest on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradgate.approvals.log import BrokenLogError, Keys, Log, read_log
from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.statement import Predicate
from gradgate.attest.verification import opened, read_predicate
from gradgate.errors import ConfigError


@dataclass
class Audit:
    """What an audit has found.

    Attributes:
        log: None when it is broken.
        refusals: Why it does not hold; none when it does.
        n_witnesses: Attestations that it was held against.
        unheard: Attestations that bear no witness, for their signature is none of the keys'.
    """

    log: Log | None = None
    refusals: list[str] = field(default_factory=list)
    n_witnesses: int = 0
    unheard: list[Path] = field(default_factory=list)


def audit(folder: Path, keys: Keys, runs: Path, named: Sequence[Path]) -> Audit:
    """Check the log from its first entry to its last, with the lists of rows that it names.

    A chain alone does not show that its end was cut off. Each attestation says where the log ended
    that its verdict has used, and which entries counted.

    Args:
        folder: Of the log.
        keys: That the entries and the attestations have to be signed by; none: nothing is signed.
        runs: Holds folders of runs, whose attestations are witnesses.
        named: Further attestations, which have to be sound.

    Raises:
        ConfigError: Something is signed, and there is no key to check that by.
        DataError: An attestation that was named is not there, or the log cannot be read.
    """
    found = Audit()
    try:
        found.log = read_log(folder, keys)
        for entry in found.log.entries:
            found.log.samples(entry)
    except BrokenLogError as error:
        found.log = None
        found.refusals.append(str(error))
        return found
    for path, is_named in _attestations(runs, named):
        _hear(found, path, is_named, keys)
    return found


def _attestations(runs: Path, named: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    yield from ((path, True) for path in named)
    yield from ((path, False) for path in sorted(runs.glob("*/attestation.json")))


def _hear(found: Audit, path: Path, is_named: bool, keys: Keys) -> None:
    """Hold the log against an attestation.

    One of another key, or of another version, has nothing to say. One that is damaged is a refusal:
    it may be the one that knows of entries which are gone.
    """
    assert found.log is not None
    try:
        sealed = opened(path)
    except NotVerifiedError as error:
        found.refusals.append(f"{path}: {error}")
        return
    if sealed.signatures and not keys:
        raise ConfigError(
            f"{path} is signed, and there is no key to check that by; name the gate's public key "
            "(--key)"
        )
    if keys and sealed.signed_by(dict(keys)) is None:
        if is_named or not keys.keys().isdisjoint(sealed.signatures):
            found.refusals.append(f"{path}: it is not signed by {', '.join(sorted(keys))}")
        else:
            found.unheard.append(path)
        return
    try:
        predicate = read_predicate(sealed)
    except NotVerifiedError as error:
        if is_named or not keys:
            found.refusals.append(f"{path}: {error}")
        else:  # by the gate's key, so that it is whole
            found.unheard.append(path)
        return
    found.n_witnesses += 1
    found.refusals += [f"{path}: {refusal}" for refusal in _contradictions(found.log, predicate)]


def _contradictions(log: Log, predicate: Predicate) -> Iterator[str]:
    """What an attestation says of the log that is not so."""
    head = predicate.audit_log
    if head is None:
        if predicate.approvals:
            yield "it names decisions, and no log that they are from"
        return
    if head.n > len(log.entries):
        yield f"the log had {head.n} entries, and has {len(log.entries)} now: its end was cut off"
        return
    if head.n and log.digests[head.n - 1] != head.sha256:
        yield f"entry {head.n} of the log was another one"
    until = log.digests[: head.n]
    for approval in predicate.approvals:
        if approval.entry not in until:
            yield f"the log has no entry {approval.entry}, which has counted"
            continue
        entry = log.entries[until.index(approval.entry)]
        said = (approval.by, approval.action, approval.chosen, approval.reason, approval.pattern)
        if said != (entry.by, entry.action, entry.chosen, entry.reason, entry.pattern):
            yield f"entry {entry.number} of the log says something else"
