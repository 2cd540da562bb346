"""The low frequencies of a gradient equal the transform of the dense one."""

import numpy as np
import pytest
import torch
from model_helpers import TINY, WIDE, nested, tiny
from peft import LoraConfig, get_peft_model
from scipy.fft import dct, dctn
from torch import nn
from transformers import CohereConfig, Gemma2Config, GPT2Config, GraniteConfig, LlamaConfig
from transformers import PretrainedConfig as Config

from gradgate.common.arrays import Floats
from gradgate.common.scratch import on_disk
from gradgate.data.tokens import Tokens
from gradgate.errors import StoreError
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicted_tokens, predicting_ids, predicting_positions
from gradgate.methods.peers import frequencies
from gradgate.methods.peers.frequencies import cosine_transform, low_frequencies, n_low
from gradgate.methods.peers.graceful import principal_components
from gradgate.models.loading import LoadedModel, assemble

GPT2 = GPT2Config(**{**TINY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 600})
CONFIGS = {
    "plain": LlamaConfig(**WIDE),
    "tied": LlamaConfig(**WIDE, tie_word_embeddings=True),
    "capped": Gemma2Config(**WIDE, head_dim=16, final_logit_softcapping=5.0),
    "multiplied": CohereConfig(**WIDE, logit_scale=0.25),
    "divided": GraniteConfig(**WIDE, logits_scaling=4.0),
    "gpt2": GPT2,
}


def dense(loaded: LoadedModel, sample: Tokens) -> Floats:
    """The transform of the gradient by autograd, V x d and in float64, cropped and flat."""
    with torch.no_grad():
        hidden = padded_forward(loaded, [predicting_ids(sample)])[0, predicting_positions(sample)]
        z = loaded.head(hidden).double()
    z.requires_grad_(True)
    targets = torch.from_numpy(predicted_tokens(sample))
    nn.functional.cross_entropy(loaded.transform(z), targets).backward()
    assert z.grad is not None
    gradient = z.grad.T @ hidden.double()
    v, d = n_low(loaded)
    return np.asarray(dctn(gradient.numpy(), type=2)[:v, :d].ravel())


def found_for(loaded: LoadedModel, samples: list[Tokens]) -> Floats:
    v, d = n_low(loaded)
    found = np.full((len(samples), v * d), np.nan, np.float32)
    assert low_frequencies(loaded, samples, found).all()
    return found.astype(np.float64)


def assert_dense(loaded: LoadedModel, samples: list[Tokens]) -> None:
    found = found_for(loaded, samples)
    for values, sample in zip(found, samples, strict=True):
        wanted = dense(loaded, sample)
        np.testing.assert_allclose(values, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_low_frequencies_are_those_of_the_dense_gradient(config: Config) -> None:
    assert_dense(tiny(config), nested())


def test_positions_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequencies, "LOGITS_BYTES", 4 * 256 * 7)
    assert_dense(tiny(CONFIGS["plain"]), nested())


def test_a_head_with_an_adapter_counts_as_it_is() -> None:
    loaded = tiny(CONFIGS["plain"])
    adapter = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "lm_head"])
    adapted = get_peft_model(loaded.model, adapter)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    adapted.eval().requires_grad_(False)
    assert_dense(assemble(adapted, None, loaded.device, loaded.dtype, {}), nested()[:6])


def test_a_sample_that_is_not_finite_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny(CONFIGS["plain"])
    loaded.model.get_input_embeddings().weight[200] = torch.inf
    samples = [Tokens([1, 5, 6], [False, True, True]), Tokens([1, 200, 6], [False, True, True])]
    found = np.zeros((2, int(np.prod(n_low(loaded)))), np.float32)
    assert low_frequencies(loaded, samples, found).tolist() == [True, False]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 255])
def test_the_cosine_transform_is_scipys(size: int) -> None:
    values = torch.randn(3, size, dtype=torch.float64)
    n = size // 2 + 1
    wanted = dct(values.numpy(), type=2)[:, :n]
    np.testing.assert_allclose(cosine_transform(values, n).numpy(), wanted, atol=1e-12 * size)


def test_components_of_a_table_on_disk_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradgate.methods.peers.graceful._BLOCK_BYTES", 4 * 30 * 20)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((90, 4)) @ rng.standard_normal((4, 30)) * 3
    rows = np.delete(np.arange(90), 7)
    features = on_disk((90, 30), np.float32)
    assert not features.any()
    features[:] = table
    found = principal_components(features, rows, 4)
    np.testing.assert_allclose(features, table, rtol=1e-6)  # it is only read
    centred = table[rows] - table[rows].mean(axis=0)
    left, sigma, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :4] * sigma[:4]), atol=1e-2)


def test_an_array_that_no_disk_holds_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"GiB do not fit into .*TMPDIR"):
        on_disk((2**52, 8), np.float32)
