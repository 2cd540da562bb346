"""Where a model contradicts targets, held against its own forward pass of each sample alone."""

import numpy as np
import pytest
import torch

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.methods.rehearsal import predicting
from gradgate.methods.rehearsal.predicting import contradicted
from gradgate.models.identity import load_model
from gradgate.tuning.trainer import Tuned, make_trainable
from helpers import MODEL


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    config = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
    return make_trainable(load_model(config), config, FinetuneConfig(r=2)).eval()


def samples(n: int) -> list[Tokens]:
    rng = np.random.default_rng(3)
    made = []
    for length in rng.integers(2, 40, n).tolist():
        ids = rng.integers(3, 200, length).tolist()
        first = int(rng.integers(0, length - 1))
        made.append(Tokens(ids, [i >= first for i in range(length)]))
    return made


@torch.no_grad()
def test_each_sample_has_the_token_that_another_one_beats_most(
    tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = samples(30)
    monkeypatch.setattr(predicting, "_AT_ONCE", 100)  # several batches, padded ones among them
    monkeypatch.setattr(predicting, "_TOKENS", 7)
    found = contradicted(tuned, given)
    for i, one in enumerate(given):
        logp = tuned(input_ids=torch.tensor([one.input_ids])).logits[0].double().log_softmax(-1)
        beaten = {}
        for place in range(1, len(one.input_ids)):
            if one.is_target[place]:
                others = logp[place - 1].clone()
                own = others[one.input_ids[place]].item()
                others[one.input_ids[place]] = -torch.inf
                beaten[place] = (others.max().item() - own, int(others.argmax()))
        place = max(beaten, key=lambda place: beaten[place])
        assert found.nats[i] == pytest.approx(beaten[place][0], abs=1e-4)
        assert (found.place[i], found.token[i]) == (place, beaten[place][1])
        assert found.said[i] == one.input_ids[place]


def test_what_is_not_finite_is_no_answer(tuned: Tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    head = tuned.get_output_embeddings()
    monkeypatch.setattr(
        head, "forward", lambda hidden: torch.full((*hidden.shape[:2], 300), torch.nan)
    )
    with pytest.raises(ModelError, match="not finite"):
        contradicted(tuned, samples(3))


def test_no_sample_is_no_answer_and_no_fault(tuned: Tuned) -> None:
    assert contradicted(tuned, []).nats.shape == (0,)
