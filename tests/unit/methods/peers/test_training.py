"""The detectors' own training: seeded, and it leaves the model as it was."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from model_helpers import WIDE, nested, tiny
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig

from gradgate.errors import ModelError
from gradgate.gradients.hidden_states import hidden_states
from gradgate.methods.peers.training import TrainingConfig, trained_copy
from gradgate.models.loading import LoadedModel, assemble

SETTINGS = TrainingConfig(learning_rate=1e-3)
SAMPLES = nested()[:20]


def plain() -> LoadedModel:
    return tiny(LlamaConfig(**WIDE))


def with_adapter() -> LoadedModel:
    loaded = plain()
    adapted = get_peft_model(loaded.model, LoraConfig(task_type="CAUSAL_LM", r=2))
    adapted.eval().requires_grad_(False)
    return assemble(adapted, None, loaded.device, loaded.dtype, {})


@pytest.mark.parametrize("make", [plain, with_adapter])
def test_the_model_and_the_random_state_stay(make: Callable[[], LoadedModel]) -> None:
    loaded = make()
    before = {name: values.clone() for name, values in loaded.model.state_dict().items()}
    names, state = [n for n, _ in loaded.model.named_modules()], torch.get_rng_state()
    states = hidden_states(loaded, SAMPLES)
    trained = trained_copy(loaded, SAMPLES, SETTINGS)
    assert torch.equal(torch.get_rng_state(), state)
    assert [n for n, _ in loaded.model.named_modules()] == names
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    assert not any(p.requires_grad for p in loaded.model.parameters())
    np.testing.assert_array_equal(hidden_states(loaded, SAMPLES), states)
    assert not np.allclose(hidden_states(trained, SAMPLES), states, atol=1e-3)
    assert not trained.model.training


def test_it_learns_and_the_seed_decides() -> None:
    loaded = plain()
    first, again = (trained_copy(loaded, SAMPLES, SETTINGS) for _ in range(2))
    other = trained_copy(loaded, SAMPLES, SETTINGS.model_copy(update={"seed": 1}))
    states = [hidden_states(model, SAMPLES) for model in (first, again, other)]
    np.testing.assert_array_equal(states[0], states[1])
    assert not np.allclose(states[0], states[2], atol=1e-4)
    long = SETTINGS.model_copy(update={"epochs": 5})
    assert loss_of(trained_copy(loaded, SAMPLES, long)) < loss_of(loaded) - 0.1


def loss_of(loaded: LoadedModel) -> float:
    losses = []
    for sample in SAMPLES:
        ids = torch.tensor([sample.input_ids])
        labels = torch.where(torch.tensor([sample.is_target]), ids, -100)
        with torch.inference_mode():
            losses.append(loaded.model(input_ids=ids, labels=labels).loss.item())
    return float(np.mean(losses))


def test_no_epoch_is_the_model_itself() -> None:
    loaded = plain()
    assert trained_copy(loaded, SAMPLES, TrainingConfig(epochs=0)) is loaded


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    loaded = plain()
    loaded.model.get_input_embeddings().weight[:] = torch.nan
    with pytest.raises(ModelError, match=r"not finite; a lower training\.learning_rate"):
        trained_copy(loaded, SAMPLES, SETTINGS)
