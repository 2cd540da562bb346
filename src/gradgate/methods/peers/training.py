"""A model that was trained on the data, for detectors that look at what it makes of them."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import peft
import torch
from peft import PeftModel
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from gradgate.common.arrays import Floats, Ints
from gradgate.config import Section
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.hidden_states import Pool, hidden_states
from gradgate.methods.contract import Scores
from gradgate.methods.peers.judging import loaded_model, scored_tokens
from gradgate.models.hardware import is_out_of_memory
from gradgate.models.head import find_head
from gradgate.models.loading import LoadedModel
from gradgate.models.targets import targets_of

_IGNORED = -100  # a label without loss, for transformers


class TrainingConfig(Section):
    """A short LoRA training on the rows that are judged; its defaults are those of GraCeFul's CUBE.

    It is the detector's own: what it trains is a copy, which is thrown away.
    """

    epochs: int = Field(1, ge=0, description="0: the model as it is.")
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    r: int = Field(4, ge=1, description="Rank of the adapter.")
    alpha: int = Field(8, ge=1, description="Scale of the adapter.")
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the adapter and of the order of the rows."
    )


def trained_states(
    scores: Scores, settings: TrainingConfig, least: int, pool: Pool = "target_mean"
) -> tuple[Ints, Floats]:
    """The last layer's hidden states of the scored rows, by a model that was trained on these.

    Args:
        scores: Of all rows.
        settings: Of the training.
        least: With fewer rows nothing is trained, and there are no states.
        pool: As in `hidden_states`.

    Returns:
        The positions of m rows of finite states, (m,), and the states, (m, d).

    Raises:
        DataError: No model was given.
        ModelError: The model cannot be loaded or trained.
    """
    at, tokens = scored_tokens(scores)
    if len(at) < least:
        return at, np.empty((len(at), 0))
    model = trained_copy(loaded_model(scores), tokens, settings)
    states = hidden_states(model, tokens, pool=pool)[:, 0]
    is_finite = np.isfinite(states).all(axis=1)
    return at[is_finite], states[is_finite]


def trained_copy(
    loaded: LoadedModel, samples: Sequence[Tokens], settings: TrainingConfig
) -> LoadedModel:
    """A copy of a model, trained on samples; the model itself and all random states stay.

    Raises:
        ModelError: Out of memory, or the loss is not finite.
    """
    if settings.epochs == 0:
        return loaded
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(settings.seed)
            adapted = _adapted(loaded.model, settings)
            _train(adapted, loaded.device, samples, settings)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory with training.batch_size {settings.batch_size}; make it or "
            "data.max_tokens smaller"
        ) from error
    adapted.eval().requires_grad_(False)
    return replace(loaded, model=adapted, head=find_head(adapted))


def _adapted(model: PreTrainedModel | PeftModel, settings: TrainingConfig) -> PeftModel:
    """A copy with a new adapter; one that is there is part of what is copied."""
    base = copy.deepcopy(model)
    if isinstance(base, PeftModel):
        base = base.merge_and_unload()
    base.requires_grad_(False)
    adapter = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        target_modules=targets_of(base, "all-linear", "the model"),
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by a name that it will drop in version 6.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return peft.get_peft_model(base, adapter)


def _train(
    adapted: PeftModel, device: torch.device, samples: Sequence[Tokens], settings: TrainingConfig
) -> None:
    """AdamW, with a learning rate that falls to zero."""
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=0.0)
    batches = list(_batches(len(samples), settings))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(batches))
    adapted.train()
    for batch in batches:
        loss = adapted(**_inputs([samples[i] for i in batch], device)).loss
        if not torch.isfinite(loss):
            raise ModelError(
                "the loss of the detector's own training is not finite; a lower "
                f"training.learning_rate than {settings.learning_rate} may help"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _batches(n: int, settings: TrainingConfig) -> Iterator[list[int]]:
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.epochs):
        order = rng.permutation(n).tolist()
        for first in range(0, n, settings.batch_size):
            yield order[first : first + settings.batch_size]


def _inputs(samples: list[Tokens], device: torch.device) -> dict[str, Tensor]:
    """Right-padded; padding carries no loss. (B, L) each."""
    width = max(len(sample.input_ids) for sample in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.int64)
    labels = torch.full_like(ids, _IGNORED)
    mask = torch.zeros_like(ids)
    for i, sample in enumerate(samples):
        end = len(sample.input_ids)
        ids[i, :end] = torch.tensor(sample.input_ids)
        labels[i, :end] = torch.where(torch.tensor(sample.is_target), ids[i, :end], _IGNORED)
        mask[i, :end] = 1
    inputs = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    return {name: values.to(device) for name, values in inputs.items()}
