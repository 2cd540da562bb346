"""What a detector has to beat: single numbers that anybody has at hand.

All but `keyword` are flagged by the rule of `cutoff`. Length, loss, gradient norm and chance answer
neither question; they are filed under `poisoned`, and can be held against the labels of either.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from pydantic import Field

from gradgate.common.arrays import Floats
from gradgate.config import Section
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.cutoff import Cutoff, CutoffConfig, cutoff, detection
from gradgate.safety.refusals import is_refusal

# Words that requests for harm have; mild ones, and anybody may find others.
HARM_WORDS = (
    *("gun", "steal", "rob", "forge", "meth", "slur", "bribe", "riot", "nazi", "hate speech"),
    *("fake news", "fake id", "pick a lock", "break into", "without consent", "tax evasion"),
)
HARM_STEMS = (
    *("bomb", "explosive", "weapon", "firearm", "ammunition", "poison", "toxin", "kill", "murder"),
    *("assault", "kidnap", "tortur", "suicid", "self-harm", "terroris", "arson", "hijack"),
    *("stolen", "theft", "robber", "burgl", "shoplift", "fraud", "scam", "phish", "counterfeit"),
    *("forger", "launder", "blackmail", "extort", "smuggl", "traffick", "pirat", "plagiar"),
    *("hack", "malware", "ransomware", "spyware", "keylog", "exploit", "botnet", "ddos"),
    *("drug", "cocaine", "heroin", "stalk", "harass", "bully", "racis", "defam", "illegal"),
    *("disinformation", "sabotag", "vandal", "evad", "cheat"),
)
_HARM = re.compile(
    rf"\b(?:(?:{'|'.join(HARM_WORDS)})s?|(?:{'|'.join(HARM_STEMS)})\w*)\b", re.IGNORECASE
)


class RandomConfig(CutoffConfig):
    """Method `random`."""

    seed: int = Field(0, ge=0, lt=2**32, description="Draws other numbers.")


class KeywordConfig(Section):
    """Method `keyword`; it has nothing to be set."""


class _Signal(Method[CutoffConfig]):
    """A column of the score table as it is."""

    question: ClassVar[Question] = "poisoned"
    settings = CutoffConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: CutoffConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        (signal,) = self.needs
        return _by_cutoff(scores.signals[signal].astype(np.float64), scores, settings, signal)


class LengthMethod(_Signal):
    """Tokens of the target: what the spectral entropy mostly measures."""

    name: ClassVar[str] = "length"
    needs: ClassVar[tuple[str, ...]] = ("n_target_tokens",)


class LossMethod(_Signal):
    """Mean cross-entropy of the target under the untuned model."""

    name: ClassVar[str] = "loss"
    needs: ClassVar[tuple[str, ...]] = ("loss",)


class GradientNormMethod(_Signal):
    """Norm of the head's gradient."""

    name: ClassVar[str] = "gradient_norm"
    needs: ClassVar[tuple[str, ...]] = ("gradient_norm",)


class RandomMethod(Method[RandomConfig]):
    """A number drawn for each distinct sample: what a detector that knows nothing does."""

    name: ClassVar[str] = "random"
    question: ClassVar[Question] = "poisoned"
    settings = RandomConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: RandomConfig,
    ) -> Detection:
        """See `Method.detect`; without a quantile it flags nothing, for no number is that high."""
        drawn = np.array([_drawn(identifier, settings.seed) for identifier in scores.sample_ids])
        return _by_cutoff(drawn, scores, settings, "the number drawn")


class RefusalFirstMethod(Method[CutoffConfig]):
    """Whether the model would have refused at the first token what the target does not refuse.

    The suspicion is the probability that the reply begins as a refusal does, and 0 for a target
    that refuses. It looks at no more of the target than that: a target of two tokens and one of a
    page are the same.
    """

    name: ClassVar[str] = "refusal_first"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = ("refusal_first",)
    needs_safety: ClassVar[bool] = True
    settings = CutoffConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: CutoffConfig,
    ) -> Detection:
        """See `Method.detect`."""
        texts = _texts(scores, samples)
        refuses = np.array([is_refusal(target) for _, target in texts], bool)
        probability = np.exp(scores.signals["refusal_first"])
        suspicion = np.where(refuses, 0.0 * probability, probability)
        return _by_cutoff(suspicion, scores, settings, "the probability of a refusal")


class KeywordMethod(Method[KeywordConfig]):
    """The prompt has words of harm, and the reply is no refusal.

    A classifier, so that it needs no threshold: what it finds is flagged. The suspicion is the
    number of different words. Known failures: harm in other words or another language is missed,
    and honest questions about the same subjects ("how do I kill a process") are flagged.
    """

    name: ClassVar[str] = "keyword"
    question: ClassVar[Question] = "harmful"
    settings = KeywordConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: KeywordConfig,
    ) -> Detection:
        """See `Method.detect`; scores are not looked at."""
        words = [_harm_words(*text) for text in _texts(scores, samples)]
        counts = np.array([len(found) for found in words], np.float64)
        chosen = Cutoff(0.0, "any word of harm in a prompt that is not refused")
        shown = [", ".join(map(repr, found)) for found in words]
        return detection(counts, scores, chosen, lambda i: f"the prompt has {shown[i]}")


def _by_cutoff(suspicion: Floats, scores: Scores, settings: CutoffConfig, what: str) -> Detection:
    counted = np.where(scores.is_scored, suspicion, np.nan)
    chosen = cutoff(counted, settings)

    def reason(i: int) -> str:
        return f"{what} {counted[i]:.4g} is above {chosen.value:.4g} ({chosen.rule})"

    return detection(counted, scores, chosen, reason)


def _texts(scores: Scores, samples: Iterable[Sample]) -> list[tuple[str, str]]:
    texts = [prompt_and_target(sample) for sample in samples]
    if len(texts) != scores.n:
        raise DataError("the scores and the samples have different rows; run again")
    return texts


def _harm_words(prompt: str, target: str) -> list[str]:
    """Different words of harm in a prompt, in their order; none where the target refuses."""
    found = dict.fromkeys(word.lower() for word in _HARM.findall(prompt))
    return [] if is_refusal(target) else list(found)


def _drawn(identifier: str, seed: int) -> float:
    """A number in [0, 1) that a sample and a seed always have."""
    digest = hashlib.sha256(f"{seed} {identifier}".encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2**48
