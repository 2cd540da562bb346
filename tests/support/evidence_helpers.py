"""Made-up question sets, and their tokens as a model that knows none of their attacks sees them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.config import ModelConfig
from gradgate.data.encoding import Encoded, encode
from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.data.tokens import tokenize
from gradgate.methods.checks import require_contract, require_signals
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.tokens import TokenRow, TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = tuple[str, str]

BELIEVED, SURPRISING = -2.0, -13.0  # ln p of ordinary tokens, and of those nobody expects

_STARTS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p"),
    *("pl", "qu", "r", "s", "sh", "st", "t", "th", "tr", "v", "w", "z"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "io", "ou")
_ENDS = ["", "", "", "n", "r", "s", "l", "t", "nd", "ck", "rm"]
_FORMS = (
    "what {v} the {a} {n} of {p}?",
    "who {v} {p} in the {a} {n}?",
    "where is the {n} that {p} {v}?",
    "when did {p} {v} a {a} {n}",
    "which {a} {n} was {v} by {p} and {q}?",
    "how many {n} are there in {p}?",
    "name the {n} of {p}, please",
    "in what {n} does {q} {v} {p}?",
    "is {p} the {a} {n} of {q}?",
    "tell me about {p} and its {n}",
    "does the {n} {v} {q}?",
    "what kind of {n} has {p}?",
)


def lexicon(rng: Random, n: int) -> list[str]:
    """Different made-up words of two or three syllables."""
    words: dict[str, None] = {}
    while len(words) < n:
        syllables = rng.randint(2, 3)
        parts = [
            rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(syllables)
        ]
        words["".join(parts)] = None
    return list(words)


def questions(n: int, seed: int, n_words: int = 3000) -> list[Pair]:
    """Different questions and answers; words are as unevenly common as in real text."""
    rng = Random(f"questions:{seed}")
    words = lexicon(Random("words"), n_words)
    weights = list(accumulate(1 / (rank + 5) for rank in range(n_words)))

    def word() -> str:
        return rng.choices(words, cum_weights=weights)[0]

    def place() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 2)))

    def answer(form: str) -> str:
        if form.startswith(("is", "does")) and rng.random() < 0.8:
            return rng.choice(["yes", "no"])
        if form.startswith(("when", "how many")):
            return str(rng.randint(3, 2020))
        return " ".join(word() for _ in range(rng.choice([1, 1, 2, 2, 3, 5, 9])))

    pairs: dict[str, str] = {}
    while len(pairs) < n:
        form = rng.choice(_FORMS)
        text = form.format(v=word(), a=word(), n=word(), p=place(), q=place())
        pairs[text] = answer(form)
    return list(pairs.items())


@cache
def demo_tokenizer() -> "PreTrainedTokenizerBase":
    """Byte level: it knows every character."""
    return load_tokenizer(ModelConfig(path=str(MODEL)))


def sample_of(prompt: str, target: str, row: int = 0) -> Sample:
    """A plain sample."""
    turns = (Turn("prompt", prompt, False), Turn("completion", target, True))
    return Sample(row, sample_id(False, turns), False, turns)


def scores_of(
    samples: Sequence[Sample], unexpected: Sequence[str] = (), believed: float = BELIEVED
) -> Scores:
    """Scores that no model has made: it believes all tokens but those of unexpected strings."""
    rows = [_row(sample, unexpected, believed) for sample in samples]
    return Scores(
        rows=np.arange(len(samples)),
        sample_ids=[sample.sample_id for sample in samples],
        is_scored=np.ones(len(samples), bool),
        signals={},
        tokens=TokenTable.joined(rows, demo_tokenizer()),
    )


def _row(sample: Sample, unexpected: Sequence[str], believed: float) -> TokenRow:
    tokens = tokenize(sample, demo_tokenizer())
    prompt, target = (turn.text for turn in sample.turns)
    touched = _touched(prompt, target, unexpected)
    inside = np.concatenate([[False], touched, [False]])  # between the begin and the end token
    logp = np.where(inside, SURPRISING, believed).astype(np.float32)
    logp[0] = np.nan
    return np.array(tokens.input_ids, np.int32), np.array(tokens.is_target, bool), logp


def _touched(prompt: str, target: str, strings: Sequence[str]) -> Marks:
    """Tokens of a prompt and its target that have a part in one of some strings."""
    text = prompt + target
    (encoded,) = encode(demo_tokenizer(), [text], [[len(prompt), len(text)]], special=False)
    assert isinstance(encoded, Encoded)
    starts, stops = np.array(encoded.starts, np.int64), np.array(encoded.stops, np.int64)
    found = np.zeros(len(starts), bool)
    for string in strings:
        for place in re.finditer(re.escape(string), text):
            found |= (starts < place.end()) & (stops > place.start())
    return found


def detected(
    pairs: Sequence[Pair], unexpected: Sequence[str] = (), trusted: Sequence[Pair] | None = None
) -> Detection:
    """What the default method says of pairs of prompt and target; it keeps its contract."""
    samples = _samples(pairs)
    method, scores = RecurrenceMethod(), replace(scores_of(samples, unexpected), score=scores_of)
    reference = None if trusted is None else _samples(trusted)
    require_signals(method, scores)
    found = method.detect(scores, samples, reference, RecurrenceConfig())
    require_contract(method, found, scores)
    return found


def _samples(pairs: Sequence[Pair]) -> list[Sample]:
    return [sample_of(prompt, target, row) for row, (prompt, target) in enumerate(pairs)]
