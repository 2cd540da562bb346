"""The command line: what can be typed. A command imports what it works with when it is called."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, Group, Parameter

import gradgate
from gradgate.attacks.config import PoisonConfig
from gradgate.cli.attest import app as attest_app
from gradgate.cli.audit import app as audit_app
from gradgate.cli.cache import app as cache_app
from gradgate.cli.lines import say_loading, tell
from gradgate.cli.options import configured
from gradgate.cli.running import run
from gradgate.cli.runs import app as runs_app
from gradgate.compare.config import CompareConfig
from gradgate.config.drawing import DrawConfig
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from gradgate.release.config import TestAdapterConfig
from gradgate.scoring.config import ScoreConfig
from gradgate.train.config import GatedFinetuneConfig

# The store is the gates' too: how large it may be is for their configuration to say.
_KEEP_STORE = {"scoring.store_max_mib": None}


def _of_shards(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a folder of shards was prepared with; None where none is named."""
    if values.get("shards") is None:
        return None
    say_loading()
    from gradgate.cli.shards import config_of_shards

    return config_of_shards(values["shards"])


app = App(
    name="gradgate",
    help="Finds training rows that would teach a model a backdoor, and says whether to train on "
    "the others.\n\n`gradgate COMMAND --help` shows the options that matter first, and "
    "`--help-all` every one.",
    version=gradgate.__version__,
    help_format="markdown",
    default_parameter=Parameter(negative=(), show_default=False),
    group_parameters=Group("Options", sort_key=-1),
    suppress_keyboard_interrupt=False,
)
app.command(cache_app, name="cache")
app.command(attest_app, name="attest")
app.command(audit_app, name="audit")
app.command(runs_app, name="runs")


@app.command
@configured(GateConfig, "data.source", _KEEP_STORE)
def detect(
    config: GateConfig,
    *,
    output: Path,
    report: Path | None = None,
    no_power: bool = False,
    exit_zero: bool = False,
    json: bool = False,
) -> int:
    """Flag the samples of a dataset that look poisoned, and say whether it may be trained on.

    The exit code is the verdict's: 0 pass, 1 fail, 2 could not run, 3 needs review.

    Args:
        config: What is read, by which model it is judged, and how.
        output: Parquet file to write: the score table, with what is flagged and why. Every row of
            the source goes beside it, to *.rows: accepted, in quarantine or rejected; so does the
            signed statement on the verdict, to *.attestation.json.
        report: HTML file to write, for people.
        no_power: Plant no canaries, and so do not say which attacks would be found.
        exit_zero: A verdict other than pass exits 0 too; errors do not.
        json: Print the verdict on stdout, as JSON, and nothing else there.
    """
    say_loading()
    from gradgate.cli.detect import Wanted, run_detect

    return run_detect(config, Wanted(output, report, no_power, exit_zero, json))


@app.command
@configured(ScoreConfig, "data.source", _KEEP_STORE, beside=GateConfig, instead=_of_shards)
def score(
    config: ScoreConfig,
    *,
    output: Path | None = None,
    shards: str | None = None,
    shard: str | None = None,
) -> int:
    """Write the score table of a dataset: spectral entropy, loss and gradient norm of every sample.

    The exit code is 0, also when rows are no samples; 1 when samples could not be scored; 2 when
    none could, or it could not run.

    Args:
        config: What is read, by which model it is judged, and how.
        output: Parquet file to write. Rows that are no samples go beside it, to
            *.rejected.parquet, with the reason.
        shards: Instead, a folder that `prepare` has written, or its fsspec URL: a part of its
            samples is scored, and nothing need be said that it knows.
        shard: Which part: 2/8 is the second of eight; auto asks SLURM's job array, auto/8 an
            indexed job of Kubernetes. All parts when absent.
    """
    if shards is not None:
        if output is not None:
            raise ConfigError("the scores of shards go into their folder; say --output to merge")
        say_loading()
        from gradgate.cli.shards import run_score_shards

        return run_score_shards(config, shards, shard)
    if output is None or shard is not None:
        raise ConfigError("say --output FILE; or --shards FOLDER, with --shard 2/8 for a part")
    say_loading()
    from gradgate.cli.score import run_score

    return run_score(config, output)


@app.command
@configured(GateConfig, "data.source", _KEEP_STORE)
def prepare(config: GateConfig, *, shards: str, shard: str | None = None) -> int:
    """Read a dataset once, and write what many workers need to score it into a folder.

    `score --shards` scores a part of it, `merge` puts the scores together. Many workers can share
    the reading, too: each with a `--shard` of its own, and then one without.

    Args:
        config: What is read, by which model it will be scored, and how. Where a method of the gate
            needs the probing set, samples will be held against it.
        shards: Folder that all workers see, or its fsspec URL, such as s3://bucket/folder.
        shard: Only tokenize this part of the rows; said as for `score`.
    """
    say_loading()
    from gradgate.cli.shards import run_draft, run_prepare

    return run_prepare(config, shards) if shard is None else run_draft(config, shards, shard)


@app.command
def merge(shards: str, *, output: Path | None = None, no_store: bool = False) -> int:
    """Check the scores of all shards and make one score table of them; no text is read.

    The scores go into the score store too, where a gate on this machine finds them. The exit code
    is as for `score`.

    Args:
        shards: Folder that `prepare` has written, or its fsspec URL.
        output: Parquet file to write; scores.parquet in the folder when absent.
        no_store: Leave the score store as it is.
    """
    from gradgate.cli.shards import run_merge

    return run_merge(shards, output, no_store)


@app.command
@configured(CompareConfig, "data.source", _KEEP_STORE)
def compare(config: CompareConfig, *, output: Path = Path("comparison")) -> int:
    """Let several methods judge the same rows, and put side by side what they find and cost.

    With labels that is recall, precision, F1, false-positive rate and AUROC; without them what each
    flags, and how far they agree. The exit code is 0 when it ran, whatever the methods say.

    Args:
        config: What is read, by which model it is judged, and which methods are compared.
        output: Folder for compare.csv, compare.json and compare.png; rejected rows go there too.
    """
    say_loading()
    from gradgate.cli.compare import run_compare

    return run_compare(config, output)


@app.command
@configured(PoisonConfig, "data.source")
def poison(config: PoisonConfig, *, output: Path) -> int:
    """Write a poisoned copy of a dataset, to see what a gate makes of it.

    The rows keep their columns and get two more, `poisoned` and `attack_role` (clean, poisoned or
    negative), which no gate reads. The rows poisoned at a low rate are among those at a higher one.

    Args:
        config: What is read, and what is done to it.
        output: JSONL file to write.
    """
    from gradgate.cli.poison import run_poison

    return run_poison(config, output)


@app.command
@configured(DrawConfig, "data.source", beside=GatedFinetuneConfig)
def draw(config: DrawConfig, *, output: Path, page: Path | None = None) -> int:
    """Draw rows at random, for somebody to look at: a trusted reference for `--reference`.

    Every different sample is drawn with the same probability. Look at each, delete the lines that
    you do not trust, and keep the file apart from the data: what the rows say is vouched for.

    Args:
        config: What is read, and how many rows are drawn of it.
        output: JSONL file to write, with the columns of the rows; never over one that is there.
        page: HTML page to read them on.
    """
    from gradgate.cli.draw import run_draw

    return run_draw(config, output, page)


@app.command(name="test-adapter")
@configured(
    TestAdapterConfig, "adapter", _KEEP_STORE, GatedFinetuneConfig, {"data.source": "--data"}
)
def adapter_test(
    config: TestAdapterConfig,
    adapter: Path,
    *,
    output: Path = Path("adapter_test.json"),
    exit_zero: bool = False,
    json: bool = False,
) -> int:
    """Ask an adapter, or a whole fine-tuned model, whether it has learnt a backdoor.

    Ordinary prompts of the data are asked as they are, with generic changes, and with the words of
    each group that the gate finds in the data. The exit code is 0 pass, 2 could not run, 3 needs
    review.

    Args:
        config: The model before, the data, and how much is asked.
        adapter: Folder of the adapter, or of the whole model after the fine-tuning.
        output: JSON file to write. A page for people goes beside it, to *.md.
        exit_zero: A test that needs a review exits 0 too; errors do not.
        json: Print the test on stdout, as JSON, and nothing else there.
    """
    say_loading()
    from gradgate.cli.test_adapter import Wanted, run_test_adapter

    return run_test_adapter(config, adapter, Wanted(output, exit_zero, json))


@app.command
def verify(
    attestation: Path,
    *,
    data: str,
    model: str | None = None,
    adapter: str | None = None,
    key: Path | None = None,
    revoked: Path | None = None,
    allow_unsigned: bool = False,
    name: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> int:
    """Check that data are exactly the rows that an attestation accepts, before training on them.

    The exit code is 0 when they are, 1 when anything differs, 2 when it could not run.

    Args:
        attestation: File that the gate has written (attestation.json).
        data: The accepted rows, in their order: path, hub id or URL, in any format.
        model: Path or hub id of the model that is going to be trained.
        adapter: Of the model, where it was judged with one.
        key: File of the gate's public key, or of several.
        revoked: File with digests of attestations and ids of keys that no longer hold; the one
            beside the key that ends in .revoked when absent.
        allow_unsigned: Without a key, take an attestation that nobody has signed.
        name: Configuration of a hub dataset.
        split: Of a dataset with several.
        revision: Hub: branch, tag or commit.
    """
    from gradgate.attest.given_rows import Place
    from gradgate.attest.model_files import ModelFiles
    from gradgate.attest.verification import Trust
    from gradgate.cli.verify import run_verify

    trust = Trust(key, revoked, allow_unsigned)
    files = ModelFiles.where_named(model, adapter)
    return run_verify(attestation, Place(data, name, split, revision), files, trust)


@app.command
def restore(
    folder: Path,
    *,
    reason: str,
    output: Path,
    rows: list[str] | None = None,
    group: list[str] | None = None,
    kept_out_for: list[str] | None = None,
    by: str | None = None,
) -> int:
    """Put rows that `detect` kept out back beside the accepted ones, in a file of its own.

    Rows that any of the choices fits are put back. Beside the file a small JSON says who did it,
    which rows, and why. What the gate has decided stays as it is.

    Args:
        folder: The folder *.rows that detect has written.
        reason: Why they are put back; it goes into the record.
        output: File to write, JSONL or Parquet as the accepted rows are.
        rows: Row numbers and ranges, from 0: `3,17-20`.
        group: Rows that the report shows with a group, flagged or in doubt, such as `poisoned:1`.
        kept_out_for: Rows that are kept out for it: `flagged`, `in doubt`, `copy`, `rejected`,
            `verdict`, or a part of the text in their `reasons`.
        by: Who answers for it; the account's name when absent.
    """
    from gradgate.cli.restore import run_restore

    return run_restore(folder, rows or [], group or [], kept_out_for or [], reason, by, output)


@app.command
def approve(
    run: str,
    *,
    by: str,
    reason: str,
    group: list[str] | None = None,
    rows: list[str] | None = None,
    keep: bool = False,
    drop: bool = False,
    withdraw: bool = False,
    pattern: bool = False,
    key: Path | None = None,
    revoked: Path | None = None,
) -> int:
    """Decide on groups or rows of a run whose verdict is review or fail.

    The decision goes into the log of decisions in the state folder, and says what is open still.
    `python -m flows approve RUN` goes on with the run. The exit code is 0 when it is recorded, 2
    otherwise.

    Args:
        run: Folder of the run, or its name in the state folder.
        by: Who decides: a name in `approvals.who` of the run's configuration.
        reason: Why; an auditor reads it.
        group: A group of the report, such as `poisoned:1`; may be said several times.
        rows: Row numbers and ranges, from 0: `3,17-20`.
        keep: These rows may be trained on.
        drop: These rows are never trained on.
        withdraw: Take back what the same person has said of them.
        pattern: With --keep and --group: this pattern is ours, so that new rows of such a group
            are kept, too. An attacker who knows it can hide in it.
        key: File of the gate's private key; by default GRADGATE_SIGNING_KEY, then the run's own.
        revoked: File with digests of attestations and ids of keys that no longer hold; the one
            beside the gate's key that ends in .revoked when absent.
    """
    from gradgate.attest.approving import Decided
    from gradgate.cli.approve import run_approve
    from gradgate.cli.said import action_of
    from gradgate.gate.ranges import read_ranges

    action, ranges = action_of(keep, drop, withdraw), read_ranges(rows or [])
    if action is None:
        raise ConfigError("say what is decided: --keep, --drop or --withdraw")
    decided = Decided(by, reason, action, group or [], ranges, pattern)
    return run_approve(run, decided, key, revoked)


@app.command
def unpack(folder: Path) -> int:
    """Write the flows of an installed wheel into a folder, for a machine without a checkout.

    There `python -m flows` runs, prefect.yaml deploys, and a worker finds the flows by
    GRADGATE_HOME. Say it again after an upgrade: prefect.yaml and gate.example.yaml stay yours.

    Args:
        folder: New, or written by an earlier version of this command.
    """
    from gradgate.cli.unpack import CARRIED, unpack_into

    unpack_into(folder, CARRIED)
    tell(str(folder.absolute()))
    return 0


@app.command
def version() -> int:
    """Print the version."""
    tell(gradgate.__version__)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code; `gradgate.__main__` is the entry point."""
    return run(app, arguments)
