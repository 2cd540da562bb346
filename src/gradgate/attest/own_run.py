"""The attestation in the folder of a run, held against the verdict that its trainer knows."""

import hashlib

from securesystemslib.signer import SSlibKey

from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.verification import opened, read_predicate, refused_by_time
from gradgate.common.run_folder import RunFolder
from gradgate.gate.acceptance import NotAcceptedError
from gradgate.gate.verdict import Verdict


def require_attested(
    run: RunFolder, verdict: Verdict, key: SSlibKey | None, required: bool
) -> str | None:
    """Check that the attestation of a run is on this very verdict.

    That the files of the run are those of the verdict is for `gate.acceptance` to say.

    Args:
        run: That is going to be trained on.
        verdict: As its caller knows it.
        key: Public key of the gate, if it has one. With a key, the attestation has to be signed.
        required: Whether there has to be a signed one.

    Returns:
        The digest of the attestation; None where there is none.

    Raises:
        NotAcceptedError: It is missing, damaged, unsigned or expired, or on another verdict.
    """
    if required and key is None:
        raise NotAcceptedError("a signed attestation is required, and there is no key to check it")
    if not run.attestation.exists():
        if required:
            raise NotAcceptedError(f"{run.path} has no attestation, and one is required")
        return None
    try:
        return _checked(run, verdict, key)
    except NotVerifiedError as error:
        raise NotAcceptedError(f"{run.attestation}: {error}; run the gate again") from error


def _checked(run: RunFolder, verdict: Verdict, key: SSlibKey | None) -> str:
    sealed = opened(run.attestation)
    signed_by = None if key is None else sealed.signed_by({key.keyid: key})
    if key is not None and signed_by is None:
        raise NotVerifiedError([f"it is not signed by the gate's key {key.keyid}"])
    if key is None and sealed.signatures:
        raise NotVerifiedError(["it is signed, and the gate has no key to check that by"])
    predicate = read_predicate(sealed)
    if predicate.key != signed_by:
        raise NotVerifiedError(["it was signed by another key than it says"])
    if predicate.verdict_sha256 != hashlib.sha256(verdict.to_json().encode()).hexdigest():
        raise NotVerifiedError(["it is on another verdict"])
    refusals = refused_by_time(predicate)
    if refusals:
        raise NotVerifiedError(refusals)
    return sealed.digest
