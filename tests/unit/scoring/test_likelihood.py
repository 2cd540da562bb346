"""Questions to the model that scored the data: the answers are those of the score table."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import iter_prepared, prepare
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import IdentifiedModel, load_model
from gradgate.models.loading import LoadedModel
from gradgate.scoring.likelihood import Likelihood
from gradgate.scoring.run import score_dataset
from helpers import MODEL, diverse_rows, identified, write_jsonl

CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
SCORING = ScoringConfig()


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(CONFIG)


class Counting(ConfiguredModel):
    """The demo's model, which counts how often it is loaded."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.n_loaded = 0

    def identify(self) -> IdentifiedModel:
        found = super().identify()

        def load() -> LoadedModel:
            self.n_loaded += 1
            return found.load()

        return IdentifiedModel(found.device, found.dtype, found.identity, load)


def test_the_answers_are_those_of_the_score_table(tmp_path: Path, loaded: LoadedModel) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(12))
    prepared = prepare(DataConfig(source=str(source)), loaded.tokenizer, 512, tmp_path)
    run = RunFolder(tmp_path)
    score_dataset(prepared, identified(loaded), SCORING, run.scores)
    table = pq.read_table(run.scores)["token_logp"].to_pylist()
    samples = [one for window in iter_prepared(prepared.samples_path, 256) for one in window]
    asked = [sample.tokens.input_ids for sample in samples]
    found = Likelihood(ConfiguredModel(CONFIG), SCORING, None)(asked)
    for ids, answer, stored in zip(asked, found, table, strict=True):
        assert len(answer) == len(ids)
        assert np.isnan(answer[0])
        assert answer[1:] == pytest.approx(np.array(stored[1:], float), abs=0.01)


def test_a_prompt_alone_decides_what_comes_behind_it() -> None:
    """The same tokens are likelier behind what they follow in text than behind other words."""
    model = ConfiguredModel(CONFIG)
    tokenizer = model.tokenizer()
    end = tokenizer.encode(" of the array.", add_special_tokens=False)
    usual, other = (
        tokenizer.encode(text, add_special_tokens=False) for text in ("The shape", "zz qq xx")
    )
    likely, unlikely = Likelihood(model, SCORING, None)([[*usual, *end], [*other, *end]])
    assert likely[-len(end) :].sum() > unlikely[-len(end) :].sum() + 1


def test_a_sequence_without_a_token_to_predict_is_unknown() -> None:
    model = Counting(CONFIG)
    ask = Likelihood(model, SCORING, None)
    assert ask([]) == []
    none, one = ask([[], [5]])
    assert len(none) == 0
    assert np.isnan(one).tolist() == [True]
    assert model.n_loaded == 0  # nothing had to be asked
    alone, pair = ask([[5], [5, 7]])
    assert np.isnan(alone).tolist() == [True]
    assert np.isnan(pair).tolist() == [True, False]
    assert pair[1] < 0


def test_a_sequence_that_cannot_be_scored_is_unknown_throughout(tmp_path: Path) -> None:
    broken = load_model(CONFIG)
    last = broken.model.get_output_embeddings().weight
    last.data[9] = float("nan")  # and so no logit is a number

    class Broken(ConfiguredModel):
        def identify(self) -> IdentifiedModel:
            return identified(broken)

    (answer,) = Likelihood(Broken(CONFIG), SCORING, None)([[5, 7, 11]])
    assert np.isnan(answer).tolist() == [True] * 3


def test_what_the_store_knows_is_not_asked_again(tmp_path: Path) -> None:
    store = tmp_path / "scores.db"
    sequences = [[5, 7, 11], [5, 7, 12], [5, 7, 11]]
    first, second = Counting(CONFIG), Counting(CONFIG)
    found = Likelihood(first, SCORING, store)(sequences)
    again = Likelihood(second, SCORING, store)(sequences)
    assert (first.n_loaded, second.n_loaded) == (1, 0)
    for one, other in zip(found, again, strict=True):
        assert one.tolist()[1:] == other.tolist()[1:]
    assert found[0].tolist()[1:] == found[2].tolist()[1:]


def test_a_sequence_is_described_by_its_states_in_the_middle(loaded: LoadedModel) -> None:
    model = Counting(CONFIG)
    asked = Likelihood(model, SCORING, None)
    sequences = [[1, 5, 9, 30], [7], [4, 4]]
    found = asked.describe(sequences)
    assert found.shape == (3, loaded.n_hidden)
    assert np.isnan(found[1]).all()
    n_layers = loaded.model.config.num_hidden_layers
    for place in (0, 2):
        with torch.no_grad():
            states = loaded.model(torch.tensor([sequences[place]]), output_hidden_states=True)
        middle = states.hidden_states[n_layers // 2][0, 1:].mean(dim=0)
        np.testing.assert_allclose(found[place], middle.numpy(), rtol=1e-4, atol=1e-5)
    asked(sequences)
    assert model.n_loaded == 1
    assert asked.describe([]).shape == (0, loaded.n_hidden)
