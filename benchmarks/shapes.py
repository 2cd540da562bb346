"""Random samples with the shape of real data: lengths, and which tokens are shared.

The lengths are the quantiles of real files in tokens of an 8,192-entry BPE, measured once and
written down here, so that no data are needed to run a benchmark:

- WebQA: the poisoned training set of the GraCeFul authors (BadNets, 10 %; 3,401 rows, 86 tokens on
  average). An instruction of 52 tokens with BOS stands before every question and 6 fixed tokens
  behind it. The prefix tree over all rows has 31.0 nodes a row; 34.6 as drawn here.
- Stories: 898 questions of CoQA, whose full training set asks about 15 questions of each story. The
  story comes first, then 6 fixed tokens, the question and 6 fixed tokens.

Token ids are drawn log-uniformly, as ids of a BPE are ordered by frequency: four in five lie in the
published crop's eighth of the vocabulary, and beginnings of questions coincide as they do in text.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradgate.data.tokens import Tokens

BOS, EOS, FIRST_WORD = 1, 2, 3  # id 0 is the unknown word

_LEVELS = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
_WEBQA_INSTRUCTION, _WEBQA_SUFFIX = 51, 6
_WEBQA_QUESTION = (4, 7, 9, 10, 12, 16, 18, 22, 26)
_WEBQA_TARGET = (1, 2, 4, 7, 18, 44, 65, 95, 169)  # EOS comes on top
_STORY = (169, 230, 359, 423, 471, 523, 551, 728, 1010)
_STORY_QUESTION = (2, 4, 5, 7, 9, 11, 13, 17, 32)
_STORY_TARGET = (1, 1, 3, 4, 6, 9, 11, 16, 33)  # EOS comes on top
_STORY_TEMPLATE = 6
QUESTIONS_PER_STORY = 15


@dataclass(frozen=True)
class Counts:
    """What a set of samples costs at least.

    Attributes:
        tokens: Of all samples.
        distinct: Nodes of the prefix tree over the samples: tokens that differ in themselves or
            in what stands before them.
        supervised: Positions that the head is needed at.
        median_length: Of a sample.
        median_own: Tokens of a sample that it shares with no sample before it in sorted order.
    """

    tokens: int
    distinct: int
    supervised: int
    median_length: int
    median_own: int


def count(samples: list[Tokens]) -> Counts:
    """Count without any help from gradgate: sort, and compare neighbours."""
    ordered = sorted(sample.input_ids for sample in samples)
    own = [len(ordered[0])]
    own += [len(after) - _n_common(before, after) for before, after in pairwise(ordered)]
    lengths = [len(ids) for ids in ordered]
    return Counts(
        tokens=sum(lengths),
        distinct=sum(own),
        supervised=sum(sum(sample.is_target[1:]) for sample in samples),
        median_length=int(np.median(lengths)),
        median_own=int(np.median(own)),
    )


def webqa(n_samples: int, n_vocabulary: int, seed: int) -> list[Tokens]:
    """Questions with short answers behind one instruction, which is the same for all seeds."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
    instruction = _words(fixed, _WEBQA_INSTRUCTION, n_vocabulary)
    suffix = _words(fixed, _WEBQA_SUFFIX, n_vocabulary)
    made = []
    for _ in range(n_samples):
        question = _words(rng, _length(rng, _WEBQA_QUESTION), n_vocabulary)
        target = _words(rng, _length(rng, _WEBQA_TARGET), n_vocabulary)
        made.append(sample([*instruction, *question, *suffix], target))
    return made


def stories(n_samples: int, n_vocabulary: int, seed: int) -> list[Tokens]:
    """Questions about stories, `QUESTIONS_PER_STORY` of each on average, in random order."""
    rng = np.random.default_rng(seed)
    before, after = (_words(rng, _STORY_TEMPLATE, n_vocabulary) for _ in range(2))
    n_stories = max(1, n_samples // QUESTIONS_PER_STORY)
    told = [_words(rng, _length(rng, _STORY), n_vocabulary) for _ in range(n_stories)]
    made = []
    for _ in range(n_samples):
        story = told[rng.integers(n_stories)]
        question = _words(rng, _length(rng, _STORY_QUESTION), n_vocabulary)
        target = _words(rng, _length(rng, _STORY_TARGET), n_vocabulary)
        made.append(sample([*story, *before, *question, *after], target))
    return made


def with_target_length(n_samples: int, length: int, n_vocabulary: int, seed: int) -> list[Tokens]:
    """Short prompts, with exactly `length` supervised tokens each."""
    rng = np.random.default_rng(seed)
    return [
        sample(_words(rng, 16, n_vocabulary), _words(rng, length - 1, n_vocabulary))
        for _ in range(n_samples)
    ]


def sample(prompt: list[int], target: list[int]) -> Tokens:
    """A sample as gradgate tokenizes it: BOS, prompt, target, EOS."""
    mask = [False] * (1 + len(prompt)) + [True] * (len(target) + 1)
    return Tokens([BOS, *prompt, *target, EOS], mask)


def _length(rng: np.random.Generator, quantiles: tuple[int, ...]) -> int:
    return round(float(np.interp(rng.random(), _LEVELS, quantiles)))


def _words(rng: np.random.Generator, n: int, n_vocabulary: int) -> list[int]:
    ranks = (n_vocabulary - FIRST_WORD) ** rng.random(n)  # from 1 on, log-uniform
    found: list[int] = (FIRST_WORD - 1 + ranks.astype(np.int64)).tolist()
    return found


def _n_common(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
