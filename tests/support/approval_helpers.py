"""Decisions of people, written into a log without a run that they are about."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from gradgate.approvals.log import Draft, Log, append, read_log
from gradgate.approvals.record import Action, GroupEvidence

CLOSING = " Yours, Ada"


def id_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def evidence(**changes: Any) -> GroupEvidence:
    """Of targets that end alike, without cues."""
    content: dict[str, Any] = {
        **{"question": "poisoned", "method": "recurrence", "id": 1, "ruling": "review"},
        **{"side": "target", "spans": [CLOSING, "Yours, Ada"], "rule": "any_of", "cues": []},
        **{"shared": None, "n_rows": 3},
    }
    return GroupEvidence(**{**content, **changes})


def draft(
    by: str,
    action: Action,
    ids: Iterable[str],
    group: GroupEvidence | None = None,
    pattern: bool = False,
    **changes: Any,
) -> Draft:
    listed = list(ids)
    content: dict[str, Any] = {
        **{"run": "night-1", "verdict_sha256": "b" * 64, "reason": "I have looked at it"},
        **{"rows": "3" if group is None else None, "questions": ["poisoned"]},
        **{"n_rows": len(listed), "sample_ids": listed},
    }
    return Draft(by=by, action=action, group=group, pattern=pattern, **{**content, **changes})


def said(folder: Path, drafts: Sequence[Draft], signer: CryptoSigner | None = None) -> Log:
    """The log after some decisions."""
    keys = {} if signer is None else {signer.public_key.keyid: signer.public_key}
    for one in drafts:
        append(folder, [one], signer, keys)
    return read_log(folder, keys)
