"""The models of a rehearsal: one for each fold, trained on the rows of the other."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from gradgate.common.files import written_whole
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.methods.rehearsal.config import RehearsalConfig
from gradgate.models.loading import LoadedModel
from gradgate.tuning.rows import training_rows
from gradgate.tuning.trainer import Tuned, make_trainable, train

logger = logging.getLogger(__name__)

_VERSION = 1  # of the questions


def tuning_of(config: RehearsalConfig, epochs: float) -> FinetuneConfig:
    """The settings of the training."""
    return FinetuneConfig(
        r=config.r,
        alpha=2 * config.r,
        epochs=epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def key_of(
    identity: dict[str, str | None],
    tuning: FinetuneConfig,
    rows: Sequence[Sequence[Tokens]],
    groups: Sequence[object],
) -> str:
    """The name of all that decides what is found.

    Args:
        identity: Of the model.
        tuning: The settings.
        rows: That each model is trained on.
        groups: What is asked about, in plain JSON values.
    """
    decisive = [_VERSION, identity["sha256"], tuning.model_dump(), groups]
    digest = hashlib.sha256(json.dumps(decisive).encode())
    for fold in rows:
        digest.update(b"fold")
        for tokens in fold:
            digest.update(content_digest(tokens))
    return digest.hexdigest()


def trained(
    loaded: LoadedModel,
    model: ModelConfig,
    tuning: FinetuneConfig,
    rows: Sequence[Tokens],
    path: Path,
) -> Tuned:
    """Put an adapter on a bare model and train it, unless an earlier run has.

    Args:
        loaded: The model without any adapter; afterwards it has one, and learns in place.
        model: Its configuration.
        tuning: The settings.
        rows: What it is trained on.
        path: Where the weights of the adapter are kept, so that a run that is broken off goes on.

    Raises:
        ModelError: Out of memory, or the weights are not finite.
    """
    transformers.set_seed(tuning.seed)
    tuned = make_trainable(loaded, model, tuning)
    if path.exists():
        peft.set_peft_model_state_dict(tuned, load_file(path))
        return tuned.eval()
    with TemporaryDirectory(prefix="gradgate-rehearsal-") as work:
        data = training_rows(rows, Path(work) / "rows.arrow")
        train(tuned, loaded, data, tuning, Path(work))
        del data  # the file is mapped
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v.contiguous() for k, v in peft.get_peft_model_state_dict(tuned).items()}
    with written_whole(path) as part:
        save_file(weights, part)
    return tuned.eval()


def without_adapter(loaded: LoadedModel, tuned: Tuned) -> None:
    """Take the adapter off again."""
    assert isinstance(tuned, peft.PeftModel)
    tuned.unload()
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()


def forget(folder: Path) -> None:
    """Delete the weights of a rehearsal; nothing of it may be taken for a released adapter."""
    shutil.rmtree(folder, ignore_errors=True)
