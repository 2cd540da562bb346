"""What a policy makes of the answer of a method."""

from scipy.stats import binomtest

from gradgate.config import PolicyConfig
from gradgate.gate.verdict import Decision

CONFIDENCE = 0.95


def poison_interval(n_flagged: int, n_scored: int, n_in_doubt: int = 0) -> tuple[float, float]:
    """95 % Clopper-Pearson interval; its upper end holds when those in doubt are poison too."""
    low = binomtest(n_flagged, n_scored).proportion_ci(CONFIDENCE, method="exact").low
    high = binomtest(n_flagged + n_in_doubt, n_scored).proportion_ci(CONFIDENCE, method="exact")
    return float(low), float(high.high)


def is_within_limit(n_flagged: int, n_scored: int, policy: PolicyConfig) -> bool:
    """Whether the flagged fraction of the scored rows is at most `max_poison_fraction`."""
    return n_flagged / n_scored <= policy.max_poison_fraction


def is_within_review(n_flagged: int, n_scored: int, n_in_doubt: int, policy: PolicyConfig) -> bool:
    """Whether the part of the rows that is flagged or in doubt is at most `review_above`."""
    return (n_flagged + n_in_doubt) / n_scored <= policy.review_above


def decide_on_doubt(
    n_scored: int, policy: PolicyConfig, n_in_doubt: int
) -> tuple[Decision, list[str]]:
    """Decide by the rows in doubt alone, where no method could say what is flagged."""
    counted = f"{n_in_doubt} of {n_scored} rows in doubt ({n_in_doubt / n_scored:.2%})"
    if not is_within_review(0, n_scored, n_in_doubt, policy):
        return "review", [f"{counted}, more than review_above {policy.review_above:.2%}"]
    if policy.in_doubt == "block" and n_in_doubt:
        return "review", [f"{counted}; the policy lets nothing in doubt pass"]
    return "pass", []


def decide_by_fraction(
    n_flagged: int, n_scored: int, policy: PolicyConfig, n_in_doubt: int = 0
) -> tuple[Decision, list[str]]:
    """Decide by the number of flagged rows, and of those in doubt.

    fail when the poison fraction is above `max_poison_fraction`, or anything is flagged under
    `flagged: block`; review when it is above `review_above`, with or without the rows in doubt, or
    when the upper bound of its interval is not below `max_poison_fraction`, or anything is in doubt
    under `in_doubt: block`.
    """
    fraction = n_flagged / n_scored
    high = poison_interval(n_flagged, n_scored, n_in_doubt)[1]
    counted = f"{n_flagged} of {n_scored} rows flagged ({fraction:.2%})"
    limit = f"max_poison_fraction {policy.max_poison_fraction:.2%}"
    if n_in_doubt:
        counted += f" and {n_in_doubt} in doubt ({n_in_doubt / n_scored:.2%})"
    if policy.flagged == "block" and n_flagged:
        return "fail", [f"{counted}; the policy blocks any flagged sample"]
    if not is_within_limit(n_flagged, n_scored, policy):
        return "fail", [f"{counted}, more than {limit}"]
    if not is_within_review(n_flagged, n_scored, n_in_doubt, policy):
        return "review", [f"{counted}, more than review_above {policy.review_above:.2%}"]
    if policy.in_doubt == "block" and n_in_doubt:
        return "review", [f"{counted}; the policy lets nothing in doubt pass"]
    if high > policy.max_poison_fraction:
        return "review", [
            f"{counted}: with so few rows the poison fraction may be as high as {high:.2%}, "
            f"more than {limit}"
        ]
    return "pass", [f"{counted}, within the policy"]
