"""The models of a rehearsal: one for each fold, trained on the rows of the other."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import peft
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradgate.common.files import written_whole
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.methods.rehearsal.config import RehearsalConfig
from gradgate.models.identity import IdentifiedModel
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
        target_modules=config.target_modules,
        epochs=epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def key_of(
    model: IdentifiedModel,
    tuning: FinetuneConfig,
    rows: Sequence[Sequence[Tokens]],
    groups: Sequence[object],
) -> str:
    """The name of all that decides what is found.

    Args:
        model: The one that is trained.
        tuning: The settings.
        rows: That each model is trained on.
        groups: What is asked about, in plain JSON values.
    """
    identity = [model.identity["sha256"], str(model.dtype), model.device.type]
    decisive = [_VERSION, identity, tuning.model_dump(), groups]
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
    if (known := _kept(path)) is not None:
        peft.set_peft_model_state_dict(tuned, known)
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


def _kept(path: Path) -> dict[str, Tensor] | None:
    """Weights of a run that was broken off; None where there are none, or none that are whole."""
    try:
        return load_file(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):
        logger.warning("the rehearsed weights in %s are damaged; they are trained again", path)
        return None


def forget(folder: Path) -> None:
    """Delete the weights of a rehearsal; nothing of it may be taken for a released adapter."""
    shutil.rmtree(folder, ignore_errors=True)
