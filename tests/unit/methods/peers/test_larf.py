"""LARF-like filter: the layer that refusals hang on, and rows that are like unsafe references."""

import numpy as np
import pytest
import torch
from given_helpers import Given, auroc, flags, given
from model_helpers import WIDE, tiny
from peer_helpers import DEMO
from transformers import GPT2Config, LlamaConfig

from gradgate.errors import ConfigError, ModelError
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection
from gradgate.methods.peers.larf import LarfConfig, LarfMethod, blocks, sensitivities
from gradgate.methods.registry import method_named
from gradgate.models.loading import LoadedModel
from gradgate.safety.probes import ProbeSet
from gradgate.safety.rendering import as_sample

PROBES = ProbeSet.read(None)
HELD_OUT = 12
FEW = PROBES.model_copy(
    update={
        "canaries": PROBES.canaries[:HELD_OUT],
        "refusals": PROBES.refusals[:HELD_OUT],
        "benign": PROBES.benign[:10],  # each costs two passes a layer
    }
)


def half(tmp_path, **changes) -> LarfConfig:
    """The first half of the built-in references."""
    path = tmp_path / "probes.json"
    path.write_text(FEW.model_dump_json(), encoding="utf-8")
    return LarfConfig(probes=str(path), **changes)


def held_out() -> tuple[Given, np.ndarray]:
    """Other prompts with replies that comply, and the same prompts with replies that refuse."""
    exchanges = [*PROBES.canaries[HELD_OUT:], *PROBES.refusals[HELD_OUT:]]
    samples = [as_sample(one.prompt, one.reply, DEMO.tokenizer()) for one in exchanges]
    texts = [(sample.turns[0].text, sample.turns[1].text) for sample in samples]
    return given(texts * 2, model=DEMO), np.arange(2 * len(texts)) % len(texts) < HELD_OUT


def detect(rows: Given, settings: LarfConfig) -> Detection:
    found = LarfMethod().detect(rows.scores, rows.samples, None, settings)
    require_contract(LarfMethod(), found, rows.scores)
    return found


def test_replies_that_comply_are_like_the_unsafe_references(tmp_path) -> None:
    rows, harmful = held_out()
    found = detect(rows, half(tmp_path, layer=5, quantile=0.5))
    assert auroc(found.suspicion, harmful) >= 0.75
    assert flags(found)[harmful].sum() >= flags(found)[~harmful].sum() + 2
    first = int(np.flatnonzero(flags(found))[0])
    assert (
        "behind layer 5 similarity to unsafe less that to safe references"
        in found.reasons[first][0]
    )
    assert (found.summary["layer"], found.summary["n_layers"]) == (5, 6)


def test_without_a_layer_the_most_sensitive_one_is_taken(tmp_path) -> None:
    rows, _ = held_out()
    found = detect(rows, half(tmp_path))
    loaded = DEMO.identify().load()
    assert found.summary["layer"] == int(np.argmax(sensitivities(loaded, FEW))) + 1


def test_the_subject_counts_so_that_honest_look_alikes_come_near(tmp_path) -> None:
    """The known failure: the last token has read the prompt as well as the reply."""
    tokenizer = DEMO.tokenizer()
    exchanges = [*PROBES.canaries[HELD_OUT:], *PROBES.look_alikes]
    samples = [as_sample(one.prompt, one.reply, tokenizer) for one in exchanges]
    texts = [(sample.turns[0].text, sample.turns[1].text) for sample in samples]
    harmful = np.arange(len(texts)) < HELD_OUT
    found = detect(given(texts * 2, model=DEMO), half(tmp_path, layer=5))
    assert auroc(found.suspicion[: len(texts)], harmful) < 0.85


def only_one_block(number: int) -> LoadedModel:
    """The demo's model with a single block that adds anything to the residual stream."""
    loaded = DEMO.identify().load()
    with torch.no_grad():
        for i, block in enumerate(blocks(loaded)):
            for name, weight in block.named_parameters():
                if i != number and name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.zero_()
    return loaded


def test_a_block_that_adds_nothing_is_not_sensitive() -> None:
    found = sensitivities(only_one_block(4), FEW)
    assert np.flatnonzero(np.abs(found) > 1e-6).tolist() == [4]


def test_the_model_is_left_as_it_was() -> None:
    loaded = DEMO.identify().load()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    sensitivities(loaded, FEW)
    after = loaded.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(block._forward_hooks for block in blocks(loaded))


@pytest.mark.parametrize(
    "config", [LlamaConfig(**WIDE), GPT2Config(vocab_size=256, n_embd=64, n_layer=2, n_head=4)]
)
def test_blocks_are_found(config) -> None:
    assert len(blocks(tiny(config))) == 2


def test_a_model_without_blocks_is_an_error() -> None:
    loaded = tiny(LlamaConfig(**WIDE))
    loaded.model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="no list of 7 blocks"):
        blocks(loaded)


def test_a_layer_that_is_not_there_is_an_error() -> None:
    rows, _ = held_out()
    with pytest.raises(ConfigError, match="layer is 7, and the model has 6 layers"):
        detect(rows, LarfConfig(layer=7))


def test_it_is_known_by_its_name() -> None:
    assert isinstance(method_named("larf"), LarfMethod)
