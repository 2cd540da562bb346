"""The central difference along grad S against autograd of each sample, over the adapter."""

import copy
import math
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from model_helpers import WIDE, D, V, nested, tiny
from transformers import Gemma2Config, GPT2Config, LlamaConfig

from gradgate.config import FinetuneConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.lora_fihs import LoraFihs
from gradgate.gradients.safety import ProxyTerm
from gradgate.models.loading import LoadedModel

LORA = FinetuneConfig(seed=5)
CONFIGS = {
    "llama": LlamaConfig(**WIDE),
    "capped": Gemma2Config(**WIDE, head_dim=16, final_logit_softcapping=2.0),
    "gpt2": GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=600),
}


def terms() -> list[ProxyTerm]:
    rng = np.random.default_rng(3)
    found = []
    for sign in (1.0, -1.0, 1.0, -1.0):
        prompt, opening = rng.integers(3, V, 9).tolist(), rng.integers(3, V, 4).tolist()
        found.append(ProxyTerm([1, *prompt, *opening], [0.0] * 10 + [sign / 4] * 4))
    return found


def logp(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(ids)[1:, None])[:, 0]


def proxy_value(model: torch.nn.Module) -> torch.Tensor:
    """The score S of a model."""
    parts = [
        (logp(model, list(t.input_ids)) * torch.tensor(list(t.weights))[1:]).sum() for t in terms()
    ]
    return torch.stack(parts).sum()


def per_sample(loaded: LoadedModel, samples: list[Tokens], sign: float = 1.0) -> list[float]:
    """Autograd's inner products, over what training would begin with; changes the model."""
    torch.manual_seed(LORA.seed)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM", r=LORA.r, lora_alpha=LORA.alpha, target_modules="all-linear"
    )
    model = peft.get_peft_model(loaded.model, settings).eval()
    weights = [p for p in model.parameters() if p.requires_grad]
    proxy = torch.autograd.grad(proxy_value(model), weights)
    assert all(
        not gradient.any()  # B = 0
        for (name, _), gradient in zip(
            [(n, p) for n, p in model.named_parameters() if p.requires_grad], proxy, strict=True
        )
        if "lora_A" in name
    )
    found = []
    for sample in samples:
        mask = torch.tensor(sample.is_target[1:])
        loss = -logp(model, list(sample.input_ids))[mask].mean()
        gradients = torch.autograd.grad(loss, weights)
        found.append(sum(float((a * b).sum()) for a, b in zip(gradients, proxy, strict=True)))
    return [sign * value for value in found]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_it_agrees_with_autograd_and_leaves_the_model_alone(name: str) -> None:
    loaded = tiny(CONFIGS[name])
    samples = [s for s in nested() if len(s.input_ids) < 200][:16]
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    modules = [type(module) for module in loaded.model.modules()]
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    found = LoraFihs(loaded, terms(), LORA)(samples)
    assert torch.rand(1) == drawn  # whatever is drawn next is as it would have been
    assert [type(module) for module in loaded.model.modules()] == modules
    assert all(torch.equal(value, before[k]) for k, value in loaded.model.state_dict().items())
    assert not any(p.requires_grad for p in loaded.model.parameters())
    expected = np.array(per_sample(loaded, samples))
    error = np.abs(found - expected)
    assert (error <= 1e-3 * np.maximum(np.abs(expected), np.abs(expected).mean())).all()
    assert np.corrcoef(found, expected)[0, 1] > 0.999999


def test_a_real_step_of_the_adapter_moves_the_score_as_it_says() -> None:
    sample = nested()[1]
    (fihs,) = LoraFihs(tiny(CONFIGS["llama"]), terms(), LORA)([sample])
    loaded = tiny(CONFIGS["llama"])
    torch.manual_seed(LORA.seed)
    settings = peft.LoraConfig(r=LORA.r, lora_alpha=LORA.alpha, target_modules="all-linear")
    model = peft.get_peft_model(loaded.model, settings).eval()

    mask = torch.tensor(sample.is_target[1:])
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=2e-4)
    before = float(proxy_value(model).detach())
    (-logp(model, list(sample.input_ids))[mask].mean()).backward()
    optimizer.step()
    moved = float(proxy_value(model).detach()) - before
    assert moved == pytest.approx(-2e-4 * fihs, rel=0.05)


def test_a_bfloat16_model_is_computed_in_float32() -> None:
    samples = nested()[:6]
    rough = tiny(CONFIGS["llama"], torch.bfloat16)
    found = LoraFihs(rough, terms(), LORA)(samples)
    assert {p.dtype for p in rough.model.parameters()} == {torch.bfloat16}
    exact = replace(rough, model=copy.deepcopy(rough.model).float(), dtype=torch.float32)
    assert found == pytest.approx(LoraFihs(exact, terms(), LORA)(samples), rel=1e-5, abs=1e-6)


def test_what_is_not_finite_is_nan_and_no_gradient_is_an_error() -> None:
    loaded = tiny(CONFIGS["llama"])
    samples = [s for s in nested() if V - 1 not in s.input_ids and len(s.input_ids) < 200][:4]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[V - 1] = math.nan
    bad = Tokens([1, V - 1, 5, 6], [False, False, True, True])
    clean = LoraFihs(loaded, terms(), LORA)(samples)
    found = LoraFihs(loaded, terms(), LORA)([bad, *samples])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx(clean, rel=1e-3)
    with pytest.raises(ModelError, match="not finite"):
        LoraFihs(loaded, [ProxyTerm([1, V - 1, 7], [0.0, 0.0, 1.0])], LORA)
    with pytest.raises(ModelError, match="cannot adapt"):
        LoraFihs(loaded, terms(), FinetuneConfig(target_modules=["nowhere"]))


def test_what_was_asked_before_does_not_matter() -> None:
    samples = nested()[:6]
    fihs = LoraFihs(tiny(CONFIGS["llama"]), terms(), LORA)
    first = fihs(samples)
    fihs(samples[::-1])
    assert (fihs(samples) == first).all()
