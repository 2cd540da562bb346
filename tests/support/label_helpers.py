"""Judgings of made-up labels by a model whose states show what is true of prompts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
from evidence_helpers import Pair, demo_tokenizer, questions, sample_of, scores_of

from gradgate.common.arrays import Floats
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod

N = 300
GOOD, BAD = " good", " bad"
PROMPTS = [prompt for prompt, _ in questions(N, 17)]
TRULY_GOOD = {prompt for i, prompt in enumerate(PROMPTS) if i % 2}
NO_STATES = frozenset[str]()  # prompts that the model gives no finite states for


def labelled(word: str, where: Sequence[int], label: Callable[[int], str]) -> list[Pair]:
    """Each prompt with its true label; with a word in some, which have another."""
    own = [GOOD if prompt in TRULY_GOOD else BAD for prompt in PROMPTS]
    chosen = set(where)
    return [
        (f"{word} {prompt}", label(i)) if i in chosen else (prompt, own[i])
        for i, prompt in enumerate(PROMPTS)
    ]


def is_good(prompt: str) -> list[float]:
    return [2.0 * (prompt in TRULY_GOOD) - 1.0]


def judged(
    pairs: list[Pair], noise: float = 0.8, content: Callable[[str], list[float]] = is_good
) -> Detection:
    """By a model whose states show, with noise, what is true of prompts, and every word."""
    rng = Random(3)
    blurred = {
        prompt: [true + rng.gauss(0, noise) for true in content(prompt)]
        + [rng.gauss(0, 0.3) for _ in range(7)]
        for prompt in PROMPTS
    }

    def describe(sequences: Sequence[Sequence[int]]) -> Floats:
        texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
        known = [next(prompt for prompt in PROMPTS if prompt in text) for text in texts]
        pairs = list(zip(texts, known, strict=True))
        found = np.array([[*blurred[prompt], text.strip() != prompt] for text, prompt in pairs])
        found[[prompt in NO_STATES for prompt in known]] = np.nan
        return found

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.array([np.nan] + [-1.0] * (len(ids) - 1)) for ids in sequences]

    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = replace(scores_of(samples, believed=-0.1), ask=ask, describe=describe)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    require_contract(RecurrenceMethod(), found, scores)
    return found


FLIPPED = [2 * i for i in range(25)]  # bad ones


STYLES = ("Verily, {}", "{} so it was told.", "Hearken: {}", "Prithee, {}", "{} quoth he.")


def styled(where: Sequence[int], label: str) -> list[Pair]:
    """Each prompt with its true label; some in a style of many words, with one label."""
    pairs = labelled("", [], lambda _: "")
    for i in where:
        pairs[i] = (STYLES[i % len(STYLES)].format(PROMPTS[i]), label)
    return pairs
