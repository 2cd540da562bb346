"""A model of which layers, and the head, lie on the disk has the scores that it has whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_helpers import WIDE, nested, tiny
from pydantic import ValidationError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, PreTrainedTokenizerFast

from gradgate.config import FinetuneConfig, ModelConfig, ScoringConfig
from gradgate.errors import ConfigError, ModelError
from gradgate.gradients.hidden_states import hidden_states
from gradgate.gradients.scorer import Scorer
from gradgate.models.identity import identify_model, load_model
from gradgate.tuning.trainer import _arguments

LAYERS = {"model.layers.0": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
ON_DISK = {"model.layers.1": "disk"}
MAPS: dict[str, Any] = {
    "auto": "auto",
    "a layer on the disk": LAYERS | ON_DISK | {"model.embed_tokens": "cpu", "lm_head": "cpu"},
    "the head too": LAYERS | ON_DISK | {"model.embed_tokens": "cpu", "lm_head": "disk"},
    "all but a layer": {name: "disk" for name in LAYERS}
    | {"model.embed_tokens": "disk", "lm_head": "disk", "model.layers.1": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny(LlamaConfig(**WIDE)).model.save_pretrained(path)
    tokenizer = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(MAPS))
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_it_has_the_scores_of_the_whole_model(
    folder: Path, name: str, share_prefixes: bool
) -> None:
    settings: dict[str, Any] = {"path": str(folder), "dtype": "float32"}
    samples = nested()[:12]
    whole = Scorer(load_model(ModelConfig(**settings, device="cpu")), ScoringConfig())
    spread = load_model(ModelConfig(**settings, device_map=MAPS[name]))
    assert spread.head.weight.is_meta == (name in ("the head too", "all but a layer"))
    scorer = Scorer(spread, ScoringConfig(batch_tokens=150), 600, share_prefixes)
    assert (scorer.unshared_because is None) == share_prefixes
    for one, other in zip(scorer.score(samples), whole.score(samples), strict=True):
        assert one.status == other.status == "scored"
        assert one.entropy_full == pytest.approx(other.entropy_full, abs=2e-5)
        assert one.entropy_crop == pytest.approx(other.entropy_crop, abs=2e-5)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(MAPS))
def test_it_has_the_hidden_states_of_the_whole_model(folder: Path, name: str) -> None:
    settings: dict[str, Any] = {"path": str(folder), "dtype": "float32"}
    whole = load_model(ModelConfig(**settings, device="cpu"))
    spread = load_model(ModelConfig(**settings, device_map=MAPS[name]))
    found, expected = (hidden_states(one, nested()[:3], (0, 1, -1)) for one in (spread, whole))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "cure"),
    [({"device": "cpu"}, "leave one of them out"), ({"adapter": "some"}, "merge_and_unload")],
)
def test_what_does_not_go_with_it_is_refused(other: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        ModelConfig(path="m", device_map="auto", **other)


@pytest.mark.parametrize("place", ["disc", "meta", "auto", "cuda:99", 99, -1, "cpu:0"])
def test_a_place_that_is_not_there_is_refused_before_anything_is_loaded(
    folder: Path, place: str | int
) -> None:
    config = ModelConfig(path=str(folder), device_map={"model": "cpu", "lm_head": place})
    with pytest.raises(ModelError, match=r"'lm_head' cannot lie on .* use cpu, disk, cuda:N"):
        identify_model(config)


@pytest.mark.filterwarnings("ignore")
def test_it_is_not_trained(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(ModelConfig(path=str(folder), device_map=MAPS["a layer on the disk"]))
    with pytest.raises(ConfigError, match="can be scored but not trained"):
        _arguments(loaded, FinetuneConfig(), tmp_path)
