"""The command line: scoring without an orchestrator."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from transformers.utils import logging as transformers_logging

import gradgate
from gradgate.cache_cli import app as cache_app
from gradgate.cli_errors import errors_as_exit_code
from gradgate.cli_options import (
    AdapterOption,
    DeviceOption,
    DtypeOption,
    MaxTokensOption,
    ModelOption,
    ModelRevisionOption,
    NameOption,
    RevisionOption,
    ScoreTableOption,
    SourceArgument,
    SplitOption,
    StoreOption,
)
from gradgate.cli_output import progress, publish_rejected, rejected_path, workspace
from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.decision import read_entropies
from gradgate.detect_cli import detect
from gradgate.errors import DataError
from gradgate.models import identify_model, load_tokenizer, sample_limit
from gradgate.poison_cli import poison_source
from gradgate.prepare import Prepared, prepare, rejection_reasons
from gradgate.scoring.dataset import ScoringSummary, score_dataset
from gradgate.state import score_store
from gradgate.threshold import PUBLISHED_CONSTANT, kde_valley

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(cache_app, name="cache")
app.command()(detect)
app.command("poison")(poison_source)


@app.callback()
def _gradgate() -> None:
    """No LLM is fine-tuned on poisoned data, and no honest data is turned away."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(gradgate.__version__)


@app.command()
def score(
    source: SourceArgument,
    model: ModelOption,
    output: ScoreTableOption,
    mode: Annotated[
        Literal["crop", "full"], typer.Option(help="Published crop or all of G.")
    ] = "crop",
    k: Annotated[int, typer.Option(help="Number of leading singular values.")] = 16,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    adapter: AdapterOption = None,
    model_revision: ModelRevisionOption = None,
    name: NameOption = None,
    split: SplitOption = None,
    revision: RevisionOption = None,
    max_tokens: MaxTokensOption = 2048,
    batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens in a step; by free memory when absent.")
    ] = None,
    store: StoreOption = True,
) -> None:
    """Write the score table of SOURCE: spectral entropy, loss and gradient norm of every sample.

    Rows that cannot be scored go to OUTPUT.rejected.parquet with the reason.
    """
    with errors_as_exit_code(), workspace(output, [source, model]) as folder:
        data = DataConfig(
            source=source, name=name, split=split, revision=revision, max_tokens=max_tokens
        )
        # The store is the gates' too: its size is for their configuration to say.
        scoring = ScoringConfig(
            mode=mode, k=k, batch_tokens=batch_tokens, store=store, store_max_mib=None
        )
        chosen = ModelConfig(
            path=model, revision=model_revision, adapter=adapter, device=device, dtype=dtype
        )
        limit = sample_limit(chosen, max_tokens)
        prepared = prepare(data, load_tokenizer(chosen), limit, folder)
        publish_rejected(prepared, output)
        if prepared.n_samples == 0:
            raise DataError(
                f"none of the {prepared.n_rows} rows of {prepared.source} can be scored: "
                f"{rejection_reasons(prepared)}; they are in {rejected_path(output)}"
            )
        with progress(prepared.n_samples) as on_progress:
            summary = score_dataset(
                prepared,
                identify_model(chosen),
                scoring,
                folder / "scores.parquet",
                score_store() if store else None,
                on_progress,
            )
        (folder / "scores.parquet").replace(output)
    _report(output, prepared, summary)


def _report(output: Path, prepared: Prepared, summary: ScoringSummary) -> None:
    entropies = read_entropies(output)
    typer.echo(
        f"{summary.n_rows} rows ({summary.n_unique} distinct, {summary.n_failed} failed): "
        f"{summary.n_reused} known before, {summary.n_scored} samples scored, "
        f"{summary.samples_per_second:.0f} rows/s: {output}"
    )
    if prepared.n_rejected:
        typer.echo(f"{prepared.n_rejected} rows rejected, reasons in {rejected_path(output)}")
    if entropies.size == 0:
        return
    low, middle, high = np.quantile(entropies, [0.05, 0.5, 0.95])
    typer.echo(f"spectral entropy: 5 % {low:.3f}, median {middle:.3f}, 95 % {high:.3f}")
    found = kde_valley(entropies)
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    origin = (
        f"no reliable KDE valley ({found.state}); above the published constant {tau}"
        if found.tau is None
        else f"above the KDE valley at {tau:.3f}"
    )
    typer.echo(f"{origin} lie {(entropies > tau).mean():.1%} of the rows")


def main() -> None:
    """Run the command line; `gradgate.__main__` is the entry point."""
    transformers_logging.disable_progress_bar()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.ERROR)
    app()
