"""What a policy makes of the answer of a method."""

from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest

from gradgate.config import InDoubt, PolicyConfig
from gradgate.gate.verdict import Decision
from gradgate.methods.contract import Question

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Limits:
    """What the policy says of one question.

    Attributes:
        question: `poisoned` or `harmful`.
        max_fraction: The largest flagged part of the scored rows that does not fail.
        review_above: A larger part that is flagged or in doubt needs a review.
        flagged: Whether flagged rows are dropped, or any of them fails.
        in_doubt: What becomes of rows in doubt.
    """

    question: Question
    max_fraction: float
    review_above: float
    flagged: Literal["drop", "block"] = "drop"
    in_doubt: InDoubt = "quarantine"

    @property
    def of_fraction(self) -> str:
        """The limit of the flagged part, by its name in the configuration."""
        name = {"poisoned": "max_poison_fraction", "harmful": "max_harmful_fraction"}
        return f"{name[self.question]} {self.max_fraction:.2%}"

    @property
    def of_review(self) -> str:
        """The limit beyond which a person has to look, by its name in the configuration."""
        name = {"poisoned": "review_above", "harmful": "harmful_review_above"}
        return f"{name[self.question]} {self.review_above:.2%}"

    @property
    def as_asked(self) -> str:
        """Behind `flagged` or `in doubt`; nothing for poison, which the gate is for."""
        return "" if self.question == "poisoned" else f" as {self.question}"


def limits_of(policy: PolicyConfig, question: Question) -> Limits:
    """What the policy says of a question."""
    pairs: dict[Question, tuple[float, float]] = {
        "poisoned": (policy.max_poison_fraction, policy.review_above),
        "harmful": (policy.max_harmful_fraction, policy.harmful_review_above),
    }
    return Limits(question, *pairs[question], policy.flagged, policy.in_doubt)


def fraction_interval(n_flagged: int, n_scored: int, n_in_doubt: int = 0) -> tuple[float, float]:
    """95 % Clopper-Pearson interval; its upper end holds when those in doubt count as well."""
    low = binomtest(n_flagged, n_scored).proportion_ci(CONFIDENCE, method="exact").low
    high = binomtest(n_flagged + n_in_doubt, n_scored).proportion_ci(CONFIDENCE, method="exact")
    return float(low), float(high.high)


def is_within_limit(n_flagged: int, n_scored: int, limits: Limits) -> bool:
    """Whether the flagged fraction of the scored rows is at most `max_fraction`."""
    return n_flagged / n_scored <= limits.max_fraction


def is_within_review(n_flagged: int, n_scored: int, n_in_doubt: int, limits: Limits) -> bool:
    """Whether the part of the rows that is flagged or in doubt is at most `review_above`."""
    return (n_flagged + n_in_doubt) / n_scored <= limits.review_above


def decide_on_doubt(n_scored: int, limits: Limits, n_in_doubt: int) -> tuple[Decision, list[str]]:
    """Decide by the rows in doubt alone, where no method could say what is flagged."""
    doubted = f"in doubt{limits.as_asked} ({n_in_doubt / n_scored:.2%})"
    counted = f"{n_in_doubt} of {n_scored} rows {doubted}"
    if not is_within_review(0, n_scored, n_in_doubt, limits):
        return "review", [f"{counted}, more than {limits.of_review}"]
    if limits.in_doubt == "block" and n_in_doubt:
        return "review", [f"{counted}; the policy lets nothing in doubt pass"]
    return "pass", []


def decide_by_fraction(
    n_flagged: int, n_scored: int, limits: Limits, n_in_doubt: int = 0
) -> tuple[Decision, list[str]]:
    """Decide by the number of flagged rows, and of those in doubt.

    fail when the flagged fraction is above `max_fraction`, or anything is flagged under
    `flagged: block`; review when it is above `review_above`, with or without the rows in doubt, or
    when the upper bound of its interval is not below `max_fraction`, or anything is in doubt under
    `in_doubt: block`.
    """
    fraction = n_flagged / n_scored
    high = fraction_interval(n_flagged, n_scored, n_in_doubt)[1]
    counted = f"{n_flagged} of {n_scored} rows flagged{limits.as_asked} ({fraction:.2%})"
    if n_in_doubt:
        counted += f" and {n_in_doubt} in doubt ({n_in_doubt / n_scored:.2%})"
    if limits.flagged == "block" and n_flagged:
        return "fail", [f"{counted}; the policy blocks any flagged sample"]
    if not is_within_limit(n_flagged, n_scored, limits):
        return "fail", [f"{counted}, more than {limits.of_fraction}"]
    if not is_within_review(n_flagged, n_scored, n_in_doubt, limits):
        return "review", [f"{counted}, more than {limits.of_review}"]
    if limits.in_doubt == "block" and n_in_doubt:
        return "review", [f"{counted}; the policy lets nothing in doubt pass"]
    if high > limits.max_fraction:
        kind = "poison" if limits.question == "poisoned" else limits.question
        return "review", [
            f"{counted}: with so few rows the {kind} fraction may be as high as {high:.2%}, "
            f"more than {limits.of_fraction}"
        ]
    return "pass", [f"{counted}, within the policy"]
