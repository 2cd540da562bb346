"""Train the demo's tiny scoring model on the docstrings of the installed packages.

Usage: `python -m demo.train_model [--steps N] [--output demo/model]`
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from demo.corpus import BOS_ID, EOS_ID, UNK_ID, pack, split_documents, train_tokenizer
from demo.model_card import TrainingFigures, write_model_card

logger = logging.getLogger(__name__)

MAX_POSITIONS = 1024
BATCH = 4
LEARNING_RATE = 2e-3
LOG_EVERY = 50


@dataclass(frozen=True)
class Options:
    """What one training run is asked to do; `max_docs` 0 means every docstring."""

    steps: int = 3500
    output: Path = Path("demo/model")
    max_docs: int = 0
    seed: int = 7


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; None stands for the process's own arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=Options.steps)
    parser.add_argument("--output", type=Path, default=Options.output)
    parser.add_argument("--max-docs", type=int, default=0, help="0: all of them")
    parser.add_argument("--seed", type=int, default=Options.seed)
    return Options(**vars(parser.parse_args(arguments)))


def build_model(vocabulary: int) -> LlamaForCausalLM:
    """Create the untrained network; its weights come from torch's global generator."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=UNK_ID,
    )
    return LlamaForCausalLM(config)


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.AdamW:
    """Set up AdamW with weight decay on the matrices only, not on the norms."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))


def train(model: LlamaForCausalLM, rows: torch.Tensor, options: Options) -> float:
    """Train in place over shuffled batches, starting a new pass when the rows run out.

    Returns:
        The mean loss over the last tenth of the steps.
    """
    optimizer = make_optimizer(model)
    warmup = max(1, options.steps // 25)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, options.steps)
    generator = torch.Generator().manual_seed(options.seed)
    losses: list[float] = []
    model.train()
    for batch in islice(_batches(len(rows), generator), options.steps):
        losses.append(_step(model, rows[batch], optimizer))
        schedule.step()
        _report(losses)
    tail = losses[-max(1, options.steps // 10) :]
    return sum(tail) / len(tail)


def _batches(rows: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    while True:
        order = torch.randperm(rows, generator=generator)
        yield from (order[start : start + BATCH] for start in range(0, rows, BATCH))


def _step(model: LlamaForCausalLM, ids: torch.Tensor, optimizer: torch.optim.AdamW) -> float:
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss)


def _report(losses: list[float]) -> None:
    if len(losses) % LOG_EVERY == 0:
        recent = losses[-LOG_EVERY:]
        logger.info("step %d loss %.3f", len(losses), sum(recent) / len(recent))


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Average the per-token loss over packed rows, dropout and gradients off."""
    model.eval()
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    total = sum(float(model(input_ids=ids, labels=ids).loss) * len(ids) for ids in batches)
    return total / len(rows)


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the weights in bfloat16 safetensors, with the tokenizer beside them."""
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def run(options: Options) -> TrainingFigures:
    """Train, measure and save; the output folder appears only once it is whole.

    Args:
        options: The output must not exist yet; an unfinished `.part` folder is reused.

    Raises:
        FileExistsError: There is a model at the output already.
    """
    if options.output.exists():
        raise FileExistsError(f"{options.output} exists; move it away to train again")
    part = options.output.with_name(options.output.name + ".part")
    figures = _train_into(part, options)
    part.rename(options.output)
    logger.info("held-out loss %.3f", figures.held_out_loss)
    return figures


def _train_into(folder: Path, options: Options) -> TrainingFigures:
    started = time.monotonic()
    torch.manual_seed(options.seed)
    kept, held_out = split_documents(options.max_docs, options.seed)
    tokenizer = train_tokenizer(kept)
    rows, held_out_rows = pack(tokenizer, kept), pack(tokenizer, held_out)
    logger.info("%d documents, %d tokens", len(kept), rows.numel())
    model = build_model(tokenizer.get_vocab_size())
    train_loss = train(model, rows, options)
    save(model, tokenizer, folder)
    figures = TrainingFigures(
        parameters=model.num_parameters(),
        documents=len(kept),
        held_out_documents=len(held_out),
        tokens=rows.numel(),
        tokens_seen=options.steps * BATCH * rows.shape[1],
        steps=options.steps,
        batch=BATCH,
        seed=options.seed,
        train_loss=train_loss,
        held_out_loss=mean_loss(model, held_out_rows),
        minutes=(time.monotonic() - started) / 60,
    )
    write_model_card(folder / "README.md", figures, model.config)
    return figures


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run(parse_options())
