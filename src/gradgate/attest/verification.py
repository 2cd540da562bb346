"""Whether an attestation covers the data that somebody is about to train on.

Nothing here needs an orchestrator, a tracking server or a model in memory.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeAlias

from pydantic import ValidationError

from gradgate.attest.envelope import read_envelope
from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.given_rows import Covered, OtherDataError, Place, check_place, check_rows
from gradgate.attest.model_files import ModelFiles
from gradgate.attest.statement import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Predicate,
    subject_of,
)
from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError
from gradgate.signing.envelope import NotAnEnvelopeError, Sealed
from gradgate.signing.keys import by_operator, key_file, public_keys

Source: TypeAlias = "str | Path | Place | Iterable[Mapping[str, Any]]"

_SKEW = timedelta(minutes=5)  # by which the clocks of two machines may differ
_REVOKED_LINE = re.compile(r"([0-9a-f]{64})(\s.*)?")


@dataclass(frozen=True)
class Trust:
    """Whom the verifier believes.

    Attributes:
        key: File of the public keys. With one, the attestation has to be signed by one of them.
        revoked: File with the digests of attestations and the ids of keys that no longer hold;
            when absent, the file beside the key that ends in .revoked, if there is one.
        allow_unsigned: Without a key, believe what nobody has signed.
    """

    key: Path | None = None
    revoked: Path | None = None
    allow_unsigned: bool = False

    @classmethod
    def of(cls, key: str | Path | None, revoked: str | Path | None, allow_unsigned: bool) -> Self:
        """With names of files."""
        paths = [None if name is None else Path(name) for name in (key, revoked)]
        return cls(paths[0], paths[1], allow_unsigned)

    def revoked_ids(self) -> frozenset[str]:
        """What no longer holds.

        Raises:
            ConfigError: The list that was named is missing, or has a line that is no digest.
        """
        path = self.revoked
        if path is None and self.key is not None:
            beside = self.key.with_suffix(".revoked")
            path = beside if beside.exists() or beside.is_symlink() else None  # a link to nothing
        return frozenset() if path is None else _read_revoked(path)


def revoked_by_operator(
    config: AttestationConfig, key: Path | None, revoked: Path | None
) -> frozenset[str]:
    """What no longer holds where a run is gone on with.

    Args:
        config: Of the run.
        key: File of the gate's private key, as it was typed.
        revoked: The list, as it was typed; the one beside the gate's key when absent.

    Raises:
        ConfigError: The list that was named is missing, or has a line that is no digest.
    """
    file = key or key_file(by_operator(config))
    public = None if file is None else file.with_name(f"{file.name}.pub")
    return Trust(public, revoked).revoked_ids()


@dataclass(frozen=True)
class Verified:
    """What holds of the data.

    Attributes:
        digest: Of the attestation, by which it is named and revoked.
        key: Id of the key that has signed; None: it is unsigned.
        covered: How the data were compared: `file`, the very file of the gate; `rows`, by their
            samples; `tokens`.
        predicate: All that the gate says.
    """

    digest: str
    key: str | None
    covered: Covered
    predicate: Predicate

    @property
    def unread(self) -> list[str]:
        """Columns of the accepted rows that were not read, and so neither judged nor compared.

        None where the very file was compared.
        """
        accepted, dataset = self.predicate.accepted, self.predicate.dataset
        if accepted is None or dataset is None or self.covered == "file":
            return []
        return [name for name in accepted.columns if name not in dataset.columns.values()]


def verify(
    attestation: str | Path,
    data: Source,
    *,
    model: str | Path | None = None,
    adapter: str | Path | None = None,
    key: str | Path | None = None,
    revoked: str | Path | None = None,
    allow_unsigned: bool = False,
) -> Verified:
    """Check that data are exactly the rows that an attestation accepts.

    Args:
        attestation: File that the gate has written.
        data: The accepted rows, in their order: path, hub id or URL, a `datasets.Dataset`, or rows.
        model: Path or hub id of the model that is going to be trained; not compared when absent.
        adapter: Of the model, where it was judged with one.
        key: File of the public key of the gate, or of several.
        revoked: See `Trust`.
        allow_unsigned: See `Trust`.

    Raises:
        NotVerifiedError: It does not cover them; `refusals` says why.
        ConfigError: A key or list cannot be used, none is named for a signed attestation, or an
            adapter is named without its model.
        DataError: A file is not there.
        ModelError: There is no such model.
    """
    trust = Trust.of(key, revoked, allow_unsigned)
    files = ModelFiles.where_named(model, adapter)
    return verify_by(Path(attestation), trust, files, lambda found: _check_data(data, found))


def verify_by(
    attestation: Path,
    trust: Trust,
    files: ModelFiles | None,
    check: Callable[[Predicate], Covered],
) -> Verified:
    """Check an attestation step by step, the data last; arguments and errors as for `verify`."""
    revoked = trust.revoked_ids()
    # 1. The envelope is whole, and holds a statement in its only form.
    sealed = opened(attestation)
    # 2. It is signed by a key that is trusted.
    key = signer_in(sealed, trust)
    # 3. The statement is of a kind and version that is known, and agrees with itself.
    predicate = read_predicate(sealed)
    if predicate.key != key:
        raise NotVerifiedError([f"{attestation} was signed by another key than it says"])
    # 4. It lets anybody train, now, and was not taken back; 5. on this model.
    refusals = [
        *_of_verdict(predicate),
        *refused_by_time(predicate),
        *refused_by_list(sealed, key, revoked),
    ]
    refusals += [] if files is None else files.refusals(predicate)
    if refusals:
        raise NotVerifiedError(refusals)
    # 6. The data are the accepted rows, in their order.
    try:
        covered = check(predicate)
    except OtherDataError as error:
        raise NotVerifiedError([str(error)]) from error
    return Verified(sealed.digest, key, covered, predicate)


def opened(attestation: Path) -> Sealed:
    """The envelope in a file.

    Raises:
        NotVerifiedError: It is damaged, or something else.
        DataError: It is not there.
    """
    try:
        return read_envelope(attestation)
    except NotAnEnvelopeError as error:
        raise NotVerifiedError([str(error)]) from error


def signer_in(sealed: Sealed, trust: Trust) -> str | None:
    """The id of the trusted key that has signed; None for what may be unsigned.

    Raises:
        NotVerifiedError: Nobody who is trusted has signed.
        ConfigError: It is signed, and no key is named.
    """
    named = ", ".join(sorted(sealed.signatures)) or "nobody"
    if trust.key is not None:
        keys = public_keys(trust.key)
        found = sealed.signed_by(keys)
        if found is not None:
            return found
        if not sealed.signatures:
            raise NotVerifiedError(["the attestation is unsigned, and a key is asked for"])
        if keys.keys() & sealed.signatures.keys():
            raise NotVerifiedError([f"the signature of key {named} is not that of this content"])
        raise NotVerifiedError(
            [f"the attestation is signed by {_short(named)}, and not by {', '.join(sorted(keys))}"]
        )
    if sealed.signatures:
        raise ConfigError(
            f"the attestation is signed by {_short(named)}; name the gate's public key (--key)"
        )
    if not trust.allow_unsigned:
        raise NotVerifiedError(
            ["the attestation is unsigned: anybody may have written it (--allow-unsigned takes it)"]
        )
    return None


def read_predicate(sealed: Sealed) -> Predicate:
    """What a statement says.

    Raises:
        NotVerifiedError: It is of another kind or version, or does not agree with itself.
    """
    statement = sealed.statement
    if statement.get("_type") != STATEMENT_TYPE:
        raise NotVerifiedError([f"the payload is no statement of type {STATEMENT_TYPE}"])
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise NotVerifiedError([f"the statement's predicateType is not {PREDICATE_TYPE}"])
    try:
        predicate = Predicate.model_validate_json(json.dumps(statement.get("predicate")))
    except ValidationError as error:
        fields = sorted({".".join(map(str, one["loc"]))[:80] for one in error.errors()})
        raise NotVerifiedError(
            [f"the statement is not of the schema of its version: {', '.join(fields[:5])}"]
        ) from error
    if statement.get("subject") != subject_of(predicate):
        raise NotVerifiedError(["the statement's subject is not what its predicate is about"])
    return predicate


def _of_verdict(predicate: Predicate) -> list[str]:
    if predicate.decision != "pass":
        return [f"the verdict is {predicate.decision}, and only a pass lets anybody train"]
    return [] if predicate.accepted and predicate.accepted.n else ["no row was accepted"]


def refused_by_time(predicate: Predicate) -> list[str]:
    """Why it does not hold now; nothing when it does."""
    now = datetime.now(UTC)
    if predicate.issued > now + _SKEW:
        return [f"it was issued at {predicate.issued:%Y-%m-%d %H:%M} UTC, which is yet to come"]
    if predicate.expires is not None and predicate.expires <= now:
        return [f"it expired at {predicate.expires:%Y-%m-%d %H:%M} UTC; run the gate again"]
    return []


def refused_by_list(sealed: Sealed, key: str | None, revoked: frozenset[str]) -> list[str]:
    """Whether it, or the key that has signed it, was taken back; nothing when neither was."""
    found = [f"the attestation {sealed.digest} is revoked"] if sealed.digest in revoked else []
    return [*found, f"the key {key} is revoked"] if key in revoked else found


def _read_revoked(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the list of what is revoked, {path}, cannot be read: {error}"
        ) from error
    found = set[str]()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _REVOKED_LINE.fullmatch(text.lower())
        if match is None:
            raise ConfigError(
                f"{path}, line {number}, begins with no digest: 64 hexadecimal digits of an "
                "attestation or a key, and behind a blank the reason"
            )
        found.add(match[1])
    return frozenset(found)


def _check_data(data: Source, predicate: Predicate) -> Covered:
    if isinstance(data, Place):
        return check_place(data, predicate)
    if isinstance(data, str | Path):
        return check_place(Place(str(data)), predicate)
    from gradgate.data.sources.in_memory import (
        rows_in_memory,  # with libraries that a file does not need
    )

    return check_rows(rows_in_memory(data), predicate)


def _short(names: str) -> str:
    """Ids as an envelope names them, which anybody may have written."""
    return names[:200] if names.isprintable() else "a key with an odd name"
