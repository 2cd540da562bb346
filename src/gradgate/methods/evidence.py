"""What methods say of groups of samples; plain values for verdict, report and people."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict

GroupRuling = Literal["poison", "review", "honest"]
RuleKind = Literal["any_of", "all_of"]


@dataclass(frozen=True)
class Association:
    """The table of a cue and a span, tested.

    Attributes:
        n: Distinct samples.
        n_span: Those with the span (t).
        n_cue: Those with the cue (c).
        n_both: Those with both (a).
        phi: Correlation.
        odds_ratio: With 1/2 added to each cell (Haldane and Anscombe), so that it is finite.
        interval: 95 % of it, from the normal approximation of its logarithm (Woolf).
        p_value: One-sided exact test (Fisher), times the number of pairs that were looked at
            (Bonferroni); at most 1, and 0 when it is below what a float holds.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    n: int
    n_span: int
    n_cue: int
    n_both: int
    phi: float
    odds_ratio: float
    interval: tuple[float, float]
    p_value: float

    @property
    def precision(self) -> float:
        """P(span | cue)."""
        return self.n_both / self.n_cue

    @property
    def recall(self) -> float:
        """P(cue | span)."""
        return self.n_both / self.n_span


@dataclass(frozen=True)
class Contrast:
    """A signal inside and outside of a group.

    Attributes:
        inside: Median of the group's samples.
        outside: Median of all others.
        auroc: Probability that a sample of the group has the higher value, in [0, 1].
        p_value: Two-sided Mann-Whitney test.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    signal: str
    inside: float
    outside: float
    auroc: float
    p_value: float


@dataclass(frozen=True)
class Example:
    """A sample of a group, as a reader sees it.

    Attributes:
        row: Row number in the source.
        prompt: Text, cut to its last characters.
        target: Text, cut.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    row: int
    prompt: str
    target: str


@dataclass(frozen=True)
class Group:
    """Samples that share a target span, and what their prompts share that others lack.

    Attributes:
        id: Number of the group in its run, from 1; the largest first.
        ruling: `poison`: flagged; `review`: a person has to look; `honest`: named, and not held
            against anybody.
        spans: The recurring target texts, the most telling first; several wordings of one intent
            make one group.
        rule: Whether a prompt needs any or all of the cues.
        cues: What the prompts share: words, n-grams or features of style.
        association: Of spans and rule, over distinct samples.
        n_rows: Rows in it, repeated ones included.
        n_independent: Distinct samples that are no near-duplicates of one another.
        own_content: What the prompts say beyond all that they share, as a part of what a prompt
            outside of the group says; near 1 where the cue was added to ordinary prompts.
        shared_words: All words that the group's prompts have more often than others.
        contrasts: What the gradient says of the group.
        reasons: Why it is ruled so, in words.
        examples: Some of its samples.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: int
    ruling: GroupRuling
    spans: list[str]
    rule: RuleKind
    cues: list[str]
    association: Association
    n_rows: int
    n_independent: int
    own_content: float
    shared_words: list[str] = field(default_factory=list)
    contrasts: list[Contrast] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    def in_a_line(self) -> str:
        """The group in one line."""
        which = "any of" if self.rule == "any_of" else "all of"
        cues = ", ".join(repr(cue) for cue in self.cues[:6])
        found = self.association
        p = f"= {found.p_value:.2g}" if found.p_value > 0.0 else "< 1e-300"
        return (
            f"{self.ruling}: target span {self.spans[0]!r} goes with {which} {cues} in the prompt "
            f"(group {self.id}: {found.n_both} of {found.n_span} and {found.n_cue}, odds ratio "
            f"{found.odds_ratio:.3g}, p {p})"
        )
