"""What a model says of token sequences that are no rows, for methods that ask it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradgate.common.arrays import Floats
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.hidden_states import hidden_states
from gradgate.gradients.token_logp import unpacked
from gradgate.models.handle import ModelHandle
from gradgate.scoring.samples import SampleScorer


class Likelihood:
    """Asks a model for the log-probability of each token; it is loaded at the first question."""

    def __init__(self, model: ModelHandle, config: ScoringConfig, store: Path | None) -> None:
        """Take the model that scored the data, and the score store, if there is one."""
        self._score = SampleScorer(model, config, store)

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        """For each sequence the log-probability of each token, in nats; NaN for the first.

        A sequence that cannot be scored is NaN throughout.

        Raises:
            ModelError: The model cannot be loaded, or is not fit to score.
            StoreError: The score store cannot be used.
        """
        asked = [i for i, ids in enumerate(sequences) if len(ids) > 1]
        tokens = [
            Tokens(list(sequences[i]), [False] * (len(sequences[i]) - 1) + [True]) for i in asked
        ]
        answers = [np.full(len(ids), np.nan) for ids in sequences]
        for i, score in zip(asked, self._score(tokens), strict=True):
            if score.token_logp is not None:
                answers[i] = unpacked(score.token_logp).astype(np.float64)
        return answers

    def describe(self, sequences: Sequence[Sequence[int]]) -> Floats:
        """For each sequence the mean hidden state behind the middle block, but for its first token.

        Returns:
            NaN for a sequence of one token, and where it is not finite. (n, d)

        Raises:
            ModelError: The model cannot be loaded, or does not fit into memory.
        """
        loaded = self._score.loaded()
        asked = [i for i, ids in enumerate(sequences) if len(ids) > 1]
        tokens = [
            Tokens(list(sequences[i]), [False] + [True] * (len(sequences[i]) - 1)) for i in asked
        ]
        found = np.full((len(sequences), loaded.n_hidden), np.nan)
        middle = loaded.model.config.get_text_config().num_hidden_layers // 2
        found[asked] = hidden_states(loaded, tokens, [middle])[:, 0]
        return found
