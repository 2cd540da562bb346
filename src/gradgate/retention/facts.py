"""What the files of a gate run say about it, for a list and for what it is held by."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.verification import opened, read_predicate
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.verdict import Decision, load_verdict


@dataclass(frozen=True)
class Attested:
    """The attestation of a run; its signature is not looked at.

    Attributes:
        decision: None: it cannot be read.
        digest: By which it is revoked.
        key: Id of the key that it names.
        lasts: Whether its time has not run out.
        expires: None: never.
    """

    decision: Decision | None
    digest: str = ""
    key: str | None = None
    lasts: bool = True
    expires: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """A gate run.

    Attributes:
        decision: None: there is no verdict that can be read.
        n_accepted: Rows that may be trained on.
        gate: `tracking.gate`, where the gate has a name.
        source: Of the data.
        series: The same for two runs of one gate; None where the configuration cannot be read.
        attested: None: there is no attestation.
    """

    decision: Decision | None
    n_accepted: int
    gate: str | None
    source: str | None
    series: tuple[str, ...] | None
    attested: Attested | None


def facts_of(run: RunFolder) -> Facts:
    """What the files say; what is damaged is None."""
    try:
        verdict = load_verdict(run.verdict)
        decision, n_accepted = verdict.decision, verdict.n_accepted
    except (DataError, OSError):
        decision, n_accepted = None, 0
    config = _config(run.config)
    tracking, data, model = (_section(config, name) for name in ("tracking", "data", "model"))
    own = [data.get(name) for name in ("source", "name", "split")]
    own += [model.get(name) for name in ("path", "adapter")]
    gate, source = tracking.get("gate"), data.get("source")
    parts = [tracking.get("experiment"), *([gate] if gate else own)]
    return Facts(
        decision=decision,
        n_accepted=n_accepted or 0,
        gate=None if gate is None else str(gate),
        source=None if source is None else str(source),
        series=tuple(map(str, parts)) if source else None,
        attested=_attested(run.attestation),
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _attested(path: Path) -> Attested | None:
    if not path.exists():
        return None
    try:
        sealed = opened(path)
        said = read_predicate(sealed)
    except (NotVerifiedError, DataError):
        return Attested(None)
    lasts = said.expires is None or said.expires > datetime.now(UTC)
    return Attested(said.decision, sealed.digest, said.key, lasts, said.expires)
