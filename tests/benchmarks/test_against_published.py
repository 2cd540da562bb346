import pytest
import torch

from benchmarks.against_published import TOLERANCE, compare
from benchmarks.models import TINY, random_model, with_window
from benchmarks.shapes import stories
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

WINDOW, WIDE = 64, 2_048  # tokens: less and more than a sample has


@pytest.fixture(scope="module")
def samples() -> list[Tokens]:
    found = stories(16, TINY.vocab_size, 0)
    assert all(WINDOW < len(one.input_ids) < WIDE for one in found)
    return found


def test_both_sides_see_the_window(samples: list[Tokens]) -> None:
    windowed, whole = _loaded(WINDOW), _loaded(WIDE)

    found = compare(windowed, samples, n_subset=4, n_rounds=2)

    assert len(found.published) == len(found.ours) == 2
    assert min(found.published + found.ours) > 0
    assert found.difference <= TOLERANCE[torch.float32]
    assert _entropies(windowed, samples) != pytest.approx(_entropies(whole, samples), abs=1e-6)


def _loaded(window: int) -> LoadedModel:
    return random_model(with_window(TINY, window), torch.device("cpu"), torch.float32)


def _entropies(loaded: LoadedModel, samples: list[Tokens]) -> list[float | None]:
    return [score.entropy_crop for score in Scorer(loaded, ScoringConfig()).score(samples)]
