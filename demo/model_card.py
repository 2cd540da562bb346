"""The README that travels with the demo model: what it is and exactly how it was made."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from transformers import PretrainedConfig

from demo.sources import installed_packages

DISTRIBUTIONS = {"sklearn": "scikit-learn", "sqlalchemy": "SQLAlchemy"}
"""Import names whose distribution is called otherwise."""


@dataclass(frozen=True)
class TrainingFigures:
    """The numbers one training run ends with; losses are nats per token.

    `tokens` counts the packed training set once, `tokens_seen` what the steps consumed.
    """

    parameters: int
    documents: int
    held_out_documents: int
    tokens: int
    tokens_seen: int
    steps: int
    batch: int
    seed: int
    train_loss: float
    held_out_loss: float
    minutes: float


def licence(distribution: str) -> str:
    """Read a distribution's licence from its metadata.

    Args:
        distribution: An installed distribution's name.

    Returns:
        The licence expression, else the trove classifiers, else the first line of the
        free-text field, else `not stated`.
    """
    fields = metadata.metadata(distribution)
    classifiers = [
        value.rsplit(" :: ", 1)[1]
        for value in fields.get_all("Classifier") or []
        if value.startswith("License :: ") and not value.endswith("OSI Approved")
    ]
    (expression,) = fields.get_all("License-Expression") or [""]
    free_text = "".join(fields.get_all("License") or []).strip().split("\n")[0]
    return expression or ", ".join(classifiers) or free_text or "not stated"


def source_table() -> str:
    """Lay out the packages the docstrings come from, as rows of a Markdown table."""
    rows = ["| package | version | licence |", "| --- | --- | --- |"]
    for package in installed_packages():
        name = DISTRIBUTIONS.get(package, package)
        rows.append(f"| {name} | {metadata.version(name)} | {licence(name)} |")
    return "\n".join(rows)


def write_model_card(path: Path, figures: TrainingFigures, config: PretrainedConfig) -> None:
    """Write the card of a finished run, naming neither machine nor folder."""
    card = CARD.format(
        figures=figures,
        config=config,
        head_size=config.hidden_size // config.num_attention_heads,
        passes=figures.tokens_seen / figures.tokens,
        perplexity=math.exp(figures.held_out_loss),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=metadata.version("torch"),
        transformers=metadata.version("transformers"),
        tokenizers=metadata.version("tokenizers"),
        table=source_table(),
    )
    path.write_text(card, encoding="utf-8")


CARD = """# Demo scoring model

A very small language model of Python docstrings, made by `python -m demo.train_model`.

**Intended use: only as the scoring model of this project's demo.** It writes
docstring-like English without knowing anything; do not use it to answer questions, to
generate text for people, or to judge any other kind of data.

## Architecture

Llama decoder (`LlamaForCausalLM`), {figures.parameters:,} parameters:
{config.num_hidden_layers} layers, hidden size {config.hidden_size},
{config.num_attention_heads} heads of {head_size}, feed-forward size
{config.intermediate_size}, rotary positions up to {config.max_position_embeddings}, output
head not tied to the embedding. Weights are stored in bfloat16 (safetensors).

Tokenizer: byte-level BPE, {config.vocab_size:,} tokens, trained on the same training
documents. `<unk>` (also padding) is 0, `<s>` 1, `</s>` 2; none is added by itself.

## Training

| | |
| --- | --- |
| training documents | {figures.documents:,} |
| held-out documents (1 %, drawn by the seed) | {figures.held_out_documents:,} |
| training tokens | {figures.tokens:,} |
| tokens seen | {figures.tokens_seen:,} ({passes:.2f} passes) |
| steps | {figures.steps:,} of {figures.batch} rows of up to 256 tokens |
| optimiser | AdamW (0.9, 0.95), weight decay 0.1, peak rate 0.002, clipped at norm 1 |
| schedule | cosine to zero after a linear warm-up over 1/25 of the steps |
| precision | float32 |
| seed | {figures.seed} |
| training loss, mean of the last tenth of the steps | {figures.train_loss:.3f} |
| held-out loss (of the saved bfloat16 weights) | {figures.held_out_loss:.3f} |
| held-out perplexity per token | {perplexity:.1f} |
| wall time | {figures.minutes:.1f} minutes |
| machine | {cores} CPU cores, {threads} thread(s) used, no accelerator |
| made with | torch {torch}, transformers {transformers}, tokenizers {tokenizers} |

Documents are packed as `<s> doc </s>` in one stream. Exact duplicates were removed;
near-duplicates (templated docstrings) remain and may lie on both sides of the split, so the
held-out loss is a little flattering.

## Where the text comes from

The docstrings of modules, classes and functions in these packages, as installed, read
without running them; folders of tests and of vendored third-party code were left out. The
docstrings belong to these packages and stay under their licences, as stated in each
package's own metadata:

{table}
"""
