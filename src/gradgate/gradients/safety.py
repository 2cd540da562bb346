"""A safety score as a weighted sum of log-probabilities of tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProxyTerm:
    """A summand of a differentiable safety score: sum_i weights[i] ln p(input_ids[i] | before).

    Attributes:
        input_ids: A prompt and an opening of a reply to it. (n,)
        weights: 0 for tokens that do not count, such as those of the prompt. (n,)
    """

    input_ids: list[int]
    weights: list[float]
