"""`gradgate attest`: the keys that sign attestations."""

from pathlib import Path

from cyclopts import App

from gradgate.cli.lines import say, tell

app = App(help="The keys that sign attestations.")


@app.command
def keygen(path: Path, *, for_models: bool = False) -> int:
    """Make an Ed25519 key: the private one at PATH, for its owner alone, the public at PATH.pub.

    Args:
        path: File of the private key; no file is ever overwritten.
        for_models: An ECDSA key on P-256 instead, which signs what was trained
            (attestation.model_key).
    """
    from gradgate.signing.keys import make_key

    public, keyid = make_key(path, for_models)
    tell(f"key {keyid}")
    setting = "attestation.model_key" if for_models else "attestation.key"
    reader = "model_signing verify key --public_key" if for_models else "gradgate verify --key"
    say(f"private: {path} ({setting}; keep it where the gate runs alone)")
    say(f"public:  {public} (for `{reader}`)")
    return 0
