"""Anchoring: rows that comply with harm against rows that refuse it, and the gradients behind."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from given_helpers import Given, auroc, flags, given
from model_helpers import WIDE, nested, tiny
from peer_helpers import DEMO
from transformers import Gemma2Config, LlamaConfig

from gradgate.data.tokens import Tokens
from gradgate.errors import ConfigError, DataError, ModelError
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection
from gradgate.methods.peers.anchoring import (
    FIRST_TOKENS,
    AnchoringConfig,
    AnchoringMethod,
    beginning,
)
from gradgate.methods.peers.anchors import nearer
from gradgate.methods.peers.head_products import cosines, mean_direction
from gradgate.methods.registry import method_named
from gradgate.safety.probes import ProbeSet
from gradgate.safety.rendering import as_sample

PROBES = ProbeSet.read(None)
HELD_OUT = 12  # canaries and refusals behind those that are anchors


def half(tmp_path) -> AnchoringConfig:
    """A probing set whose anchors are the first half of the built-in one."""
    changes = {"canaries": PROBES.canaries[:HELD_OUT], "refusals": PROBES.refusals[:HELD_OUT]}
    path = tmp_path / "probes.json"
    path.write_text(PROBES.model_copy(update=changes).model_dump_json(), encoding="utf-8")
    return AnchoringConfig(probes=str(path))


def held_out() -> tuple[Given, np.ndarray]:
    """Other prompts with replies that comply, and the same prompts with replies that refuse."""
    exchanges = [*PROBES.canaries[HELD_OUT:], *PROBES.refusals[HELD_OUT:]]
    tokenizer = DEMO.tokenizer()
    samples = [as_sample(one.prompt, one.reply, tokenizer) for one in exchanges]
    texts = [(sample.turns[0].text, sample.turns[1].text) for sample in samples]
    return given(texts * 2, model=DEMO), np.arange(2 * len(texts)) % len(texts) < HELD_OUT


def detect(rows: Given, settings: AnchoringConfig) -> Detection:
    found = AnchoringMethod().detect(rows.scores, rows.samples, None, settings)
    require_contract(AnchoringMethod(), found, rows.scores)
    return found


@pytest.mark.parametrize(("features", "least"), [("gradient", 0.9), ("representation", 0.75)])
def test_replies_that_comply_are_nearer_than_those_that_refuse(tmp_path, features, least) -> None:
    rows, harmful = held_out()
    settings = half(tmp_path).model_copy(update={"features": features, "quantile": 0.5})
    found = detect(rows, settings)
    assert auroc(found.suspicion, harmful) >= least
    assert flags(found)[harmful].sum() >= flags(found)[~harmful].sum() + 2
    assert found.summary["features"] == features
    assert found.summary["probes_sha256"] == ProbeSet.read(settings.probes).fingerprint
    first = int(np.flatnonzero(flags(found))[0])
    assert found.reasons[first][0].startswith("similarity to harmful less that to safe anchors ")


def test_an_honest_answer_in_the_anchors_words_looks_harmful(tmp_path) -> None:
    """The known failure: the wording of a reply counts, and hardly the prompt."""
    rows, harmful = held_out()
    before = detect(rows, half(tmp_path)).suspicion
    texts = [(sample.turns[0].text, sample.turns[1].text) for sample in rows.samples]
    benign = [as_sample(p, "", DEMO.tokenizer()).turns[0].text for p in PROBES.benign[:12]]
    same_replies = [(p, reply) for p, (_, reply) in zip(benign, texts[:12], strict=True)]
    after = detect(given(same_replies * 3, model=DEMO), half(tmp_path)).suspicion[:12]
    refusals = before[~harmful]
    assert np.median(after) > np.quantile(refusals, 0.9)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**WIDE),
        Gemma2Config(**WIDE, head_dim=16, final_logit_softcapping=5.0, tie_word_embeddings=False),
    ],
)
def test_the_products_are_those_of_the_whole_gradients(config) -> None:
    loaded = tiny(config)
    samples = nested()[:20]
    harmful, safe, rows = samples[:3], samples[3:5], samples[5:]
    direction = mean_direction(loaded, [(1.0, harmful), (-1.0, safe)])
    found = cosines(loaded, rows, direction)

    def unit(sample: Tokens) -> torch.Tensor:
        gradient = whole_gradient(loaded, sample)
        return gradient / gradient.norm()

    toward = sum(map(unit, harmful)) / 3 - sum(map(unit, safe)) / 2
    expected = [float((unit(row) * toward).sum()) for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def whole_gradient(loaded, sample: Tokens) -> torch.Tensor:
    """The head's gradient, by autograd."""
    weight = loaded.head.weight.requires_grad_(True)
    labels = [i if m else -100 for i, m in zip(sample.input_ids, sample.is_target, strict=True)]
    logits = loaded.model(input_ids=torch.tensor([sample.input_ids])).logits[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]))
    (gradient,) = torch.autograd.grad(loss, weight)
    weight.requires_grad_(False)
    return gradient


def test_only_the_first_target_tokens_count() -> None:
    sample = Tokens(list(range(40)), [False] * 5 + [True] * 35)
    cut = beginning(sample)
    assert (len(cut.input_ids), sum(cut.is_target)) == (5 + FIRST_TOKENS, FIRST_TOKENS)
    short = Tokens([1, 2, 3], [True, False, True])  # the first token is not predicted
    assert beginning(short) == short
    turns = Tokens(list(range(20)), [False, True, True] + [False] * 5 + [True] * 12)
    assert sum(beginning(turns).is_target) == FIRST_TOKENS


def test_nearer_is_a_difference_of_mean_cosines() -> None:
    states = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    harmful, safe = np.array([[1.0, 0.0]]), np.array([[0.0, 4.0], [0.0, 1.0]])
    np.testing.assert_allclose(nearer(states, harmful, safe), [1.0, -1.0, 0.0], atol=1e-12)


def test_a_state_that_is_not_finite_is_no_value() -> None:
    states = np.array([[np.nan, 1.0], [1.0, 0.0]])
    found = nearer(states, np.eye(2)[:1], np.eye(2)[1:])
    assert np.isnan(found[0])
    assert found[1] == 1.0


def test_an_anchor_whose_gradient_vanishes_is_an_error() -> None:
    loaded = tiny(LlamaConfig(**WIDE))
    loaded.model.get_decoder().norm.weight.data.zero_()
    with pytest.raises(ModelError, match="anchor"):
        mean_direction(loaded, [(1.0, nested()[:1])])


def test_without_a_model_it_is_an_error() -> None:
    rows, _ = held_out()
    scores = replace(rows.scores, model=None)
    with pytest.raises(DataError, match="model"):
        detect(Given(scores, rows.samples), AnchoringConfig())


def test_a_missing_probing_set_is_an_error(tmp_path) -> None:
    rows, _ = held_out()
    with pytest.raises(ConfigError, match="probing set"):
        detect(rows, AnchoringConfig(probes=str(tmp_path / "none.json")))


def test_it_is_known_by_its_name() -> None:
    assert isinstance(method_named("anchoring"), AnchoringMethod)
