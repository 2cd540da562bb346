"""Labels that speak against their prompts: held-out models are asked about rows and their cues.

Of a row with a flipped label everything but the trigger speaks for another label. So each model is
asked about rows that it has not seen, as they are and without each cue that tells a label. A cue of
content leaves a prompt that speaks for its label still; without a trigger most rows turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import ConfigDict
from scipy.stats import binomtest

from gradgate.common.arrays import Floats, Ints
from gradgate.errors import ModelError
from gradgate.methods.rehearsal.cases import Case, Renderer
from gradgate.methods.rehearsal.labels import Cue, Labelled
from gradgate.tuning.trainer import Tuned

MAX_ASKED = 16  # rows of a cue
MAX_OF_LABEL = 96  # rows of a label, whatever their cues
MIN_ASKED = 8  # rows of a cue, or of a label
MIN_KNOWN = 0.4  # of the rows beyond chance, whose label the models tell: they know the labels
MIN_AGAINST = 0.5  # of a cue's rows that speak for another label without it
ALPHA = 0.01  # of the exact test that they do so no more than others, over all cues
_BATCH = 32


@dataclass(frozen=True)
class CueAsked:
    """What is known of a cue.

    Attributes:
        n: Rows that were asked about.
        n_against_with: Those that speak for another label as they are.
        n_against: Those that do without the cue.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    n: int = 0
    n_against_with: int = 0
    n_against: int = 0

    def plus(self, other: "CueAsked") -> "CueAsked":
        """Both."""
        return CueAsked(
            self.n + other.n,
            self.n_against_with + other.n_against_with,
            self.n_against + other.n_against,
        )


@dataclass(frozen=True)
class FlipsAsked:
    """What held-out models say of labels.

    Attributes:
        margins: By the position of a row: ln p of its label minus that of the likeliest other one,
            in nats.
        by_label: For each label the rows that were asked about as they are, drawn at random, and
            how many of these speak for another label.
        cues: For each cue.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    margins: dict[int, float] = field(default_factory=dict)
    by_label: list[tuple[int, int]] = field(default_factory=list)
    cues: list[CueAsked] = field(default_factory=list)

    def plus(self, other: "FlipsAsked") -> "FlipsAsked":
        """What two models say of different rows; either may say nothing."""
        if not self.by_label or not other.by_label:
            return self if self.by_label else other
        pairs = zip(self.by_label, other.by_label, strict=True)
        return FlipsAsked(
            {**self.margins, **other.margins},
            [(n + m, k + j) for (n, k), (m, j) in pairs],
            [one.plus(two) for one, two in zip(self.cues, other.cues, strict=True)],
        )

    @property
    def known(self) -> float:
        """How far the models tell the labels, beyond chance: 1 for always, 0 for never."""
        told = [1 - k / n for n, k in self.by_label if n >= MIN_ASKED]
        chance = 1 / max(2, len(self.by_label))
        return (float(np.mean(told)) - chance) / (1 - chance) if len(told) > 1 else 0.0

    @property
    def is_known(self) -> bool:
        """Whether they tell them well enough to speak against one."""
        return self.known >= MIN_KNOWN

    def is_against(self, number: int, label: int) -> bool:
        """Whether most rows of a cue speak for another label, far more than others of theirs."""
        asked, (n, k) = self.cues[number], self.by_label[label]
        if not self.is_known or asked.n < MIN_ASKED or n < MIN_ASKED:
            return False
        usual = (k + 1) / (n + 2)
        p_value = binomtest(asked.n_against, asked.n, usual, alternative="greater").pvalue
        is_beyond = float(p_value) * len(self.cues) <= ALPHA
        return is_beyond and asked.n_against >= MIN_AGAINST * asked.n


def rows_asked(found: Labelled, cues: Sequence[Cue], seed: int) -> tuple[Ints, list[Ints]]:
    """The rows that are asked about: of each label, and of each cue."""
    rng = np.random.default_rng(seed)
    of_cues = [_drawn(cue.rows, MAX_ASKED, rng) for cue in cues]
    plain = [
        _drawn(found.rows[found.label == label], MAX_OF_LABEL, rng)
        for label in range(len(found.targets))
    ]
    return np.concatenate(plain), of_cues


def _drawn(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


class FlipAsking:
    """Asks one model about labels."""

    def __init__(
        self, renderer: Renderer, found: Labelled, cases: Sequence[Case], cues: Sequence[Cue]
    ) -> None:
        """Take what is asked.

        Args:
            renderer: Of prompts.
            found: The labels.
            cases: Rows that the model has not seen, of labels alone.
            cues: That tell a label.
        """
        self._renderer = renderer
        self._found = found
        self._label = dict(zip(found.rows.tolist(), found.label.tolist(), strict=True))
        self._cases = cases
        self._cues = cues

    def run(self, tuned: Tuned, plain: Ints, of_cues: Sequence[Ints]) -> FlipsAsked:
        """Ask about rows of labels, and about those of each cue.

        Args:
            tuned: The model.
            plain: Rows of the first kind.
            of_cues: For each cue, rows with it.
        """
        wanted = set(np.concatenate([plain, *of_cues]).tolist())
        known = {case.row: case for case in self._cases if case.row in wanted}
        cases = list(known.values())
        margins = self._margins(tuned, cases, [case.prompt for case in cases])
        of_row = {case.row: m for case, m in zip(cases, margins.tolist(), strict=True)}
        by_label = [
            (len(own), sum(m <= 0 for m in own))
            for own in (
                [of_row[i] for i in plain.tolist() if i in of_row and self._label[i] == label]
                for label in range(len(self._found.targets))
            )
        ]
        asked = [
            self._ask_cue(tuned, cue, [known[i] for i in rows.tolist() if i in known], of_row)
            for cue, rows in zip(self._cues, of_cues, strict=True)
        ]
        return FlipsAsked(of_row, by_label, asked)

    def _ask_cue(
        self, tuned: Tuned, cue: Cue, cases: Sequence[Case], of_row: dict[int, float]
    ) -> CueAsked:
        prompts = [self._renderer.prompt(case, cue.without) for case in cases]
        there = [(c, prompt) for c, prompt in zip(cases, prompts, strict=True) if prompt]
        own = [case for case, _ in there]
        margins = self._margins(tuned, own, [prompt for _, prompt in there])
        return CueAsked(
            len(own), sum(of_row[case.row] <= 0 for case in own), int((margins <= 0).sum())
        )

    def _margins(self, tuned: Tuned, cases: Sequence[Case], prompts: Sequence[list[int]]) -> Floats:
        """Of each row's label against the likeliest other one, behind some prompt: (n,).

        Raises:
            ModelError: One is not finite.
        """
        head = list(self._found.head)
        logp = next_logp(tuned, [prompt + head for prompt in prompts], self._found.next_tokens)
        label = np.array([self._label[case.row] for case in cases], np.int64)
        at = np.arange(len(cases))
        own = logp[at, label]
        others = logp.copy()
        others[at, label] = -np.inf
        margins = np.asarray(own - others.max(1, initial=-np.inf))
        if not np.isfinite(margins).all():
            raise ModelError("the rehearsed model gives log-probabilities that are not finite")
        return margins


@torch.inference_mode()
def next_logp(tuned: Tuned, given: Sequence[list[int]], tokens: Sequence[int]) -> Floats:
    """Ln p, in nats, of some tokens behind n texts: (n, tokens).

    Args:
        tuned: The model, as it is.
        given: Token ids, at least one each.
        tokens: Of which the next one may be any.
    """
    found = np.zeros((len(given), len(tokens)))
    order = sorted(range(len(given)), key=lambda i: -len(given[i]))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        lengths = torch.tensor([len(given[i]) for i in chosen])
        width = int(lengths.max())
        ids = torch.tensor([given[i] + [0] * (width - len(given[i])) for i in chosen])  # (B, T)
        mask = (torch.arange(width) < lengths[:, None]).long()
        device = tuned.device
        logits = tuned(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits
        last = logits[torch.arange(len(chosen)), lengths - 1].float().log_softmax(-1)  # (B, V)
        found[chosen] = last[:, list(tokens)].double().cpu().numpy()
    return found
