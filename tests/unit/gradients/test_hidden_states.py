"""Hidden states agree with the model run on one sample at a time."""

import numpy as np
import pytest
import torch
from model_helpers import WIDE, nested, tiny
from transformers import GPT2Config, LlamaConfig, PretrainedConfig

from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.gradients.hidden_states import Pool, hidden_states
from gradgate.gradients.scorer import MAX_STEP_TOKENS

GPT2 = GPT2Config(vocab_size=256, n_embd=64, n_layer=2, n_head=4, n_positions=600)
CONFIGS = {"llama": LlamaConfig(**WIDE), "gpt2": GPT2}


@pytest.mark.parametrize("pool", ["target_mean", "last"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_hidden_states_are_those_of_each_sample_alone(config: PretrainedConfig, pool: Pool) -> None:
    loaded, samples = tiny(config), nested()
    found = hidden_states(loaded, samples, (0, 1, -1), pool)
    assert found.shape == (len(samples), 3, loaded.n_hidden)
    for i, sample in enumerate(samples):
        with torch.inference_mode():
            states = loaded.model(
                torch.tensor([sample.input_ids]), output_hidden_states=True
            ).hidden_states
        at = [k for k, is_target in enumerate(sample.is_target) if is_target and k > 0]
        for j, layer in enumerate((0, 1, -1)):
            picked = states[layer][0, at].double()
            wanted = picked.mean(dim=0) if pool == "target_mean" else picked[-1]
            np.testing.assert_allclose(found[i, j], wanted.numpy(), atol=1e-4)


def test_hidden_states_do_not_depend_on_the_size_of_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, samples = tiny(CONFIGS["llama"]), nested()
    whole = hidden_states(loaded, samples)
    monkeypatch.setitem(MAX_STEP_TOKENS, "cpu", 16)
    np.testing.assert_allclose(hidden_states(loaded, samples), whole, atol=1e-4)
    assert hidden_states(loaded, []).shape == (0, 1, loaded.n_hidden)


def test_behind_a_single_block_nothing_more_is_computed() -> None:
    loaded, samples = tiny(LlamaConfig(**{**WIDE, "num_hidden_layers": 4})), nested()
    both = hidden_states(loaded, samples, (2, -1))
    ran = []
    for i, block in enumerate(loaded.model.get_decoder().layers):
        block.register_forward_pre_hook(lambda *_, i=i: ran.append(i))
    alone = hidden_states(loaded, samples, (2,))
    assert set(ran) == {0, 1}
    np.testing.assert_array_equal(alone[:, 0], both[:, 0])
    np.testing.assert_array_equal(hidden_states(loaded, samples, (2, -1)), both)


def test_a_sample_without_a_target_is_an_error() -> None:
    with pytest.raises(DataError, match="without a supervised token"):
        hidden_states(tiny(CONFIGS["llama"]), [Tokens([1, 5, 6], [False] * 3)])
