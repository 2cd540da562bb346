"""The models of a rehearsal: one for each fold, trained on the rows of the other."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import peft
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradgate.common.files import own_aside, written_whole
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.methods.rehearsal.config import RehearsalConfig
from gradgate.models.identity import IdentifiedModel
from gradgate.models.loading import LoadedModel
from gradgate.tuning.rows import training_rows
from gradgate.tuning.trainer import Tuned, make_trainable, train

logger = logging.getLogger(__name__)

_VERSION = 4  # of the questions and of when a training ends
_STEPS = "steps"  # in the metadata of the weights


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
    rows: Iterable[Iterable[Tokens]],
    groups: Sequence[object],
) -> str:
    """The name of all that decides what is found.

    Args:
        model: The one that is trained.
        tuning: The settings.
        rows: That each model is trained on, and others that are asked about.
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
    is_enough: Callable[[Tuned], bool],
) -> tuple[Tuned, int]:
    """Put an adapter on a bare model and train it, unless an earlier run has.

    Args:
        loaded: The model without any adapter; afterwards it has one, and learns in place.
        model: Its configuration.
        tuning: The settings.
        rows: What it is trained on.
        path: Where the weights of the adapter are kept, so that a run that is broken off goes on.
        is_enough: Asked after a half and three quarters of the steps whether these are enough.

    Returns:
        The trained model, and the steps that were taken.

    Raises:
        ModelError: Out of memory, or the weights are not finite.
    """
    transformers.set_seed(tuning.seed)
    tuned = make_trainable(loaded, model, tuning)
    if (known := _kept(path)) is not None:
        weights, n_steps = known
        peft.set_peft_model_state_dict(tuned, weights)
        return tuned.eval(), n_steps
    with TemporaryDirectory(prefix="gradgate-rehearsal-") as work:
        data = training_rows(rows, Path(work) / "rows.arrow")
        done = train(tuned, loaded, data, tuning, Path(work), lambda: is_enough(tuned))
        del data  # the file is mapped
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v.contiguous() for k, v in peft.get_peft_model_state_dict(tuned).items()}
    with written_whole(path, own_aside(path)) as part:
        save_file(weights, part, {_STEPS: str(done.global_step)})
    return tuned.eval(), done.global_step


def _kept(path: Path) -> tuple[dict[str, Tensor], int] | None:
    """Weights and steps of a run that was broken off; None where there are no whole ones."""
    try:
        with safe_open(path, "pt") as file:
            n_steps = int(file.metadata()[_STEPS])
        return load_file(path), n_steps
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        logger.warning("the rehearsed weights in %s are damaged; they are trained again", path)
        return None


def forget(weights: Iterable[Path]) -> None:
    """Delete the weights of a rehearsal; nothing of it may be taken for a released adapter."""
    for path in weights:
        path.unlink(missing_ok=True)
