"""ONION (Qi et al. 2021, arXiv 2011.10369): words whose removal lowers the perplexity.

For each word i of a prompt the paper takes f_i = p_0 - p_i, where p_0 is the perplexity of the
prompt and p_i that of the prompt without the word. A word with f_i > t_s is an outlier. Here a
row's suspicion is its largest f_i, and t_s is chosen by the rule of `cutoff`; the paper chooses it
on clean data. The paper asks GPT-2, this asks the untuned model. Words are what white space parts,
as in the paper's own code.

Known failures, which are kept:
- Only a word that stands out by itself is found. Triggers that are whole sentences (AddSent), a
  style, an order of words or a form of the text stay: without one word the rest is as odd.
- Perplexity is a ratio to the length: an odd word moves a short prompt far more than a long one,
  so rare names in short honest prompts come before triggers in long ones.
- It never looks at the targets: poison without a trigger is out of reach.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field
from transformers import PreTrainedTokenizerBase

from gradgate.common.arrays import Floats
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.contract import AskModel, Detection, Method, Question, Scores
from gradgate.methods.peers.cutoff import CutoffConfig, cutoff, detection

Item = TypeVar("Item")

_PROMPTS_TOGETHER = 64  # that are asked in one call, so that memory stays bounded
_MAX_WORDS_SHOWN = 50  # of the summary
_IN_THE_NOTE = 6


class OnionConfig(CutoffConfig):
    """Method `onion`."""

    max_words: int = Field(
        32,
        ge=1,
        description="Words of a prompt that are removed in turn, each a pass of the model: all of "
        "a shorter prompt, and of a longer one those that surprise the model most.",
    )


@dataclass(frozen=True)
class _Outlier:
    """The word of a prompt whose removal lowers the perplexity most, and those that do at all.

    Attributes:
        before: Perplexity of the whole prompt.
        lowered: f_i of each word that was removed, the largest first.
    """

    before: float
    lowered: list[tuple[str, float]]


class OnionMethod(Method[OnionConfig]):
    """Words whose removal lowers the perplexity of a prompt (ONION)."""

    name: ClassVar[str] = "onion"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    settings = OnionConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: OnionConfig,
    ) -> Detection:
        """See `Method.detect`; costs a short pass of the model for each word."""
        if scores.tokens is None or scores.ask is None:
            raise DataError("method onion asks the model, and there is none; score the data anew")
        prompts = [prompt_and_target(sample)[0] for sample in samples]
        if len(prompts) != scores.n:
            raise DataError("the scores and the samples have different rows; run again")
        distinct = list(
            dict.fromkeys(p for p, s in zip(prompts, scores.is_scored, strict=True) if s)
        )
        peeler = _Peeler(scores.ask, scores.tokens.tokenizer, settings.max_words)
        found = dict(zip(distinct, peeler.peeled(distinct), strict=True))
        return _detection([found.get(prompt) for prompt in prompts], scores, settings)


class _Peeler:
    """Removes the words of prompts, one at a time, and asks what the model makes of the rest."""

    def __init__(self, ask: AskModel, tokenizer: PreTrainedTokenizerBase, max_words: int) -> None:
        self._ask = ask
        self._tokenizer = tokenizer
        self._max_words = max_words
        begin = tokenizer.bos_token_id
        # GPT-2's way, where a tokenizer has no beginning: the end of the text before
        self._begin = tokenizer.eos_token_id if begin is None else begin

    def peeled(self, prompts: Iterable[str]) -> Iterator[_Outlier | None]:
        """Of each prompt; None where it has fewer than two words, or no perplexity."""
        for some in _chunks(prompts, _PROMPTS_TOGETHER):
            words = [prompt.split() for prompt in some]
            whole = self._ask([self._encoded(part) for part in words])
            chosen = [
                self._chosen(part, logp) if len(part) > 1 else []
                for part, logp in zip(words, whole, strict=True)
            ]
            rests = [
                self._encoded([*part[:i], *part[i + 1 :]])
                for part, places in zip(words, chosen, strict=True)
                for i in places
            ]
            answers = iter(self._ask(rests))
            for part, places, logp in zip(words, chosen, whole, strict=True):
                without = [_perplexity(next(answers)) for _ in places]
                yield _outlier(_perplexity(logp), [part[i] for i in places], without)

    def _encoded(self, words: Sequence[str]) -> list[int]:
        ids: list[int] = self._tokenizer(
            " ".join(words), add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return [self._begin, *ids]

    def _chosen(self, words: list[str], logp: Floats) -> list[int]:
        """Places of the words that are removed."""
        if len(words) <= self._max_words:
            return list(range(len(words)))
        # of a prompt's first words; a word's tokens are those that it adds
        ends = [len(self._encoded(words[: i + 1])) for i in range(len(words))]
        starts = [1, *ends[:-1]]
        nats = [-float(logp[a:b].sum()) for a, b in zip(starts, ends, strict=True)]
        order = sorted(range(len(words)), key=lambda i: -nats[i])
        return sorted(order[: self._max_words])


def _perplexity(logp: Floats) -> float:
    """Exp of the mean surprise of all tokens but the first; NaN where it is not known."""
    return float(np.exp(-np.mean(logp[1:]))) if len(logp) > 1 else float("nan")


def _outlier(before: float, words: list[str], without: list[float]) -> _Outlier | None:
    lowered = [(w, before - p) for w, p in zip(words, without, strict=True) if np.isfinite(p)]
    if not lowered or not np.isfinite(before):
        return None
    return _Outlier(before, sorted(lowered, key=lambda one: -one[1]))


def _detection(found: list[_Outlier | None], scores: Scores, settings: OnionConfig) -> Detection:
    suspicion = np.array([np.nan if one is None else one.lowered[0][1] for one in found])
    suspicion[~scores.is_scored] = np.nan
    chosen = cutoff(suspicion, settings)
    limit = np.inf if chosen.value is None else chosen.value
    counted = Counter(
        word
        for one in found
        if one is not None
        for word in {word for word, lowers in one.lowered if lowers > limit}
    )
    words = dict(counted.most_common(_MAX_WORDS_SHOWN))
    commonest = ", ".join(f"{w!r} ({n} rows)" for w, n in counted.most_common(_IN_THE_NOTE))
    notes = [f"words that lower the perplexity most: {commonest}"] if words else []

    def reason(i: int) -> str:
        one = found[i]
        assert one is not None  # or it had no value to be flagged by
        outliers = [f"{word!r} by {lowers:.1f}" for word, lowers in one.lowered if lowers > limit]
        return f"without a word the perplexity of {one.before:.1f} falls: {', '.join(outliers)}"

    return detection(suspicion, scores, chosen, reason, {"outlier_words": words}, notes)


def _chunks(items: Iterable[Item], n: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, n)):
        yield some
