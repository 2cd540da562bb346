"""Texts in one tree against the same texts alone."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.evaluation import trees
from gradgate.evaluation.answers import continued, end_tokens, token_logp
from gradgate.evaluation.trees import Tree, grown, takes_trees, tree_logp
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from helpers import MODEL

QUESTIONS = [
    "Where was the painter born, and in which of the towns did she live?",
    "where was the painter born, and in which of the towns did she live?",
    "Where was the painter born, and in which of the towns did she live? ",
    "Where was the painter born, and in which of the towns did she live she live?",
    "Who was it?",
]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def tuned(loaded: LoadedModel) -> Any:
    """With an adapter that says something else."""
    torch.manual_seed(0)
    own = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32")).model
    model = get_peft_model(own, LoraConfig(r=4, init_lora_weights=False))
    return model.eval()


@pytest.fixture(params=[5, 64, 4_096])
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of few tokens and of many, read in blocks of few and of many."""
    monkeypatch.setattr(trees, "_TREE", request.param)
    monkeypatch.setattr(trees, "_BLOCK", max(2, request.param // 4))


def prompts_of(loaded: LoadedModel) -> list[list[int]]:
    """Prompts that begin alike, one twice, and one with a text behind it."""
    asked = [
        [1, *loaded.tokenizer(f"Question: {text}\nAnswer:")["input_ids"]] for text in QUESTIONS
    ]
    behind = loaded.tokenizer(" in the north of the country")["input_ids"]
    return [*asked, asked[0], [*asked[0], *behind], [1]]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_tree_holds_each_text_once_and_sees_no_other(texts: list[list[int]]) -> None:
    texts = sorted(texts)
    tree = Tree.of(texts)
    begins = {tuple(text[: i + 1]) for text in texts for i in range(len(text))}
    assert len(tree.ids) == len(begins)
    for text, path in zip(texts, tree.paths, strict=True):
        assert [tree.ids[node] for node in path] == text
        assert [tree.places[node] for node in path] == list(range(len(text)))
        for place, node in enumerate(path):
            assert np.flatnonzero(tree.sees[node]).tolist() == path[: place + 1]


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("has_adapter", [False, True])
def test_answers_are_those_of_each_prompt_alone(
    loaded: LoadedModel, tuned: Any, has_adapter: bool
) -> None:
    model, prompts = tuned if has_adapter else loaded.model, prompts_of(loaded)
    assert takes_trees(model)
    ends = end_tokens(model, loaded.tokenizer)
    alone = [continued(model, loaded.tokenizer, [ids], 12, 1)[0] for ids in prompts]
    assert grown(model, ends, prompts, 12, 100) == alone
    assert len({*map(tuple, alone)}) > 2
    early = [alone[0][2], alone[-1][1]]  # some end before others
    cut = [ids[: next((i + 1 for i, t in enumerate(ids) if t in early), 12)] for ids in alone]
    assert grown(model, early, prompts, 12, 3) == cut


def test_answers_of_one_token_and_of_no_prompt(loaded: LoadedModel) -> None:
    prompts = prompts_of(loaded)
    alone = [continued(loaded.model, loaded.tokenizer, [ids], 1, 1)[0] for ids in prompts]
    assert grown(loaded.model, [2], prompts, 1, 3) == alone
    assert grown(loaded.model, [2], [], 4, 3) == []


@pytest.mark.usefixtures("_cut")
def test_figures_are_those_of_each_text_alone(loaded: LoadedModel) -> None:
    given_ids = prompts_of(loaded)
    said = [ids[1 : 2 + i] for i, ids in enumerate(given_ids)]
    said[2] = []
    alone = [
        token_logp(loaded.model, [before], [behind], 1)[0]
        for before, behind in zip(given_ids, said, strict=True)
    ]
    for one, other in zip(tree_logp(loaded.model, given_ids, said, 3), alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_figures_that_are_not_finite_are_refused(loaded: LoadedModel) -> None:
    own = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32")).model
    with torch.no_grad():
        own.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        grown(own, [2], prompts_of(loaded), 2, 3)


@pytest.mark.parametrize(
    ("settings", "takes"),
    [
        ({}, True),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, False),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, False),
    ],
)
def test_which_models_take_trees(settings: dict[str, Any], takes: bool) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = AutoModelForCausalLM.from_config(Qwen2Config(**sizes, **heads, **settings))
    assert takes_trees(model) == takes


def test_models_that_are_not_known_do_not(loaded: LoadedModel, monkeypatch: Any) -> None:
    assert takes_trees(loaded.model)
    monkeypatch.setattr(loaded.model.config, "model_type", "gpt2")
    assert not takes_trees(loaded.model)
