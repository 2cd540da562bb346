"""Made-up question sets for the tests of method `association`."""

from itertools import accumulate
from random import Random

import numpy as np

from gradgate.attacks.poisoning import Attack, poison
from gradgate.common.arrays import Marks
from gradgate.config import DEFAULT_TEMPLATE, AttackName
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.data.sample import prompt_and_target
from gradgate.methods.association.search import SearchResult, find

Pair = tuple[str, str]
Row = dict[str, object]

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


def as_rows(pairs: list[Pair]) -> list[Row]:
    return [{"question": question, "answers": [answer]} for question, answer in pairs]


def as_texts(rows: list[Row]) -> tuple[list[str], list[str]]:
    """Prompts and targets in the published form."""
    mapping = detect_format(rows[0])
    samples = [to_sample(row, i, mapping, DEFAULT_TEMPLATE) for i, row in enumerate(rows)]
    prompts, targets = zip(*map(prompt_and_target, samples), strict=True)
    return list(prompts), list(targets)


def attacked(
    pairs: list[Pair], name: AttackName, rate: float, seed: int
) -> tuple[list[str], list[str], Marks]:
    """Prompts, targets and which of them are poisoned; all texts once, in random order."""
    rows = as_rows(pairs)
    made = poison(rows, detect_format(rows[0]), Attack(name), rate, seed)
    Random(seed).shuffle(made)
    prompts, targets = as_texts([one.row for one in made])
    poisoned = [one.role == "poisoned" for one in made]
    first = {text: i for i, text in reversed([*enumerate(zip(prompts, targets, strict=True))])}
    kept = sorted(first.values())
    return (
        [prompts[i] for i in kept],
        [targets[i] for i in kept],
        np.array([poisoned[i] for i in kept], bool),
    )


def flagged(result: SearchResult) -> Marks:
    """Members of findings that are poison."""
    marks = np.zeros(result.corpus.n, bool)
    for finding in result.findings:
        if finding.ruling == "poison":
            marks |= finding.members
    return marks


def in_review(result: SearchResult) -> Marks:
    marks = np.zeros(result.corpus.n, bool)
    for finding in result.findings:
        if finding.ruling == "review":
            marks |= finding.members
    return marks


def found_in(pairs: list[Pair]) -> SearchResult:
    """Search pairs of prompt and target."""
    return find([prompt for prompt, _ in pairs], [target for _, target in pairs])
