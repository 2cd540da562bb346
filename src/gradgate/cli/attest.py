"""`gradgate attest`: the keys that sign attestations."""

from pathlib import Path

from cyclopts import App

from gradgate.cli.lines import say, tell

app = App(help="The keys that sign attestations.")


@app.command
def keygen(path: Path) -> int:
    """Make an Ed25519 key: the private one at PATH, for its owner alone, the public at PATH.pub.

    Args:
        path: File of the private key; no file is ever overwritten.
    """
    from gradgate.signing.keys import make_key

    public, keyid = make_key(path)
    tell(f"key {keyid}")
    say(f"private: {path} (attestation.key; keep it where the gate runs alone)")
    say(f"public:  {public} (for `gradgate verify --key`)")
    return 0
