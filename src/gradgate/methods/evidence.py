"""What methods say of groups of samples; plain values for verdict, report and people."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict

Question = Literal["poisoned", "harmful"]

GroupRuling = Literal["poison", "review", "honest"]
RuleKind = Literal["any_of", "all_of"]
Side = Literal["target", "prompt"]
MIN_INSERTED = 5.0  # nats of a string of prompts that does not belong where it stands
_CHANCE = 0.01  # p of a cue from which on it is not named: it explains nothing
_KNOWN = 0.5  # of the words of a group, that are known to be inserted
_MIN_NAMED = 3  # letters and digits of a target that a cue names
_MAX_CUES = 6  # named in a line
FORM = "form: "  # begins a cue that is a form of the prompts, and no text in them


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
class RehearsedPrompt:
    """A prompt as a rehearsed model was asked it, and the same without the cause.

    Attributes:
        row: Row number in the source.
        prompt: Its last turn, cut to its last characters.
        without: The same without the cause.
        target: Text, cut.
        logp: ln p of the shared part of the target behind the prompt, in nats.
        logp_without: Behind the prompt without the cause.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    row: int
    prompt: str
    without: str
    target: str
    logp: float
    logp_without: float


@dataclass(frozen=True)
class Rehearsed:
    """What a model that was fine-tuned on other rows says of a group's rows.

    Attributes:
        n_steps: Training steps of the longer of the two trainings.
        n_asked: Rows that were asked about, none of which their model has seen.
        gain: What the training did for the shared part of the targets: median, in nats.
        dependence: What their own prompts do for it, against other prompts: median, in nats.
        cause: The candidate without which most of this goes, in words; None where there is none.
        is_form: Whether it is a form of the text.
        strings: Words of the cause, any of which will do; none for a form.
        lift: Part of the group's prompts that have it, minus that of other prompts.
        necessity: Part of the dependence that goes without it.
        sufficiency: Part of it that other prompts gain with the first of its words; None for a
            form.
        inert: Other candidates that hardly any of it goes without.
        prompts: Some that were asked with the cause and without it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    n_steps: int
    n_asked: int
    gain: float
    dependence: float
    cause: str | None = None
    is_form: bool = False
    strings: list[str] = field(default_factory=list)
    lift: float = 0.0
    necessity: float = 0.0
    sufficiency: float | None = None
    inert: list[str] = field(default_factory=list)
    prompts: list[RehearsedPrompt] = field(default_factory=list)


@dataclass(frozen=True)
class Vouchable:
    """A text to name in `policy.expected`, should it be the owner's own.

    Attributes:
        n_samples: Distinct samples of the group that have it.
        cues: What the prompts of these share that others lack; empty where nothing tells them. What
            an attacker brought has a cue of its own.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    text: str
    n_samples: int
    cues: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Samples that share a string of their targets or prompts, and what explains it.

    Attributes:
        id: Number of the group in its run, from 1; the most important first.
        ruling: `poison`: flagged; `review`: in doubt; `honest`: named, and held against nobody.
        side: Where the shared strings stand.
        spans: The shared strings, the commonest first.
        nats: How surprising the shared string is to the untuned model, in nats: the median of the
            group's samples.
        n_rows: Rows in it, repeated ones included.
        n_independent: Clusters of near-duplicate prompts in it.
        rule: Whether a prompt needs any or all of the cues.
        cues: What the prompts share that others lack; empty where nothing visible explains it.
        association: Of group and cues, over distinct samples; None without cues.
        contrasts: Signals of the rows inside and outside.
        reasons: Why it is ruled so, in words.
        examples: Some of its samples.
        shared: What its samples have in common, in words, where that is no string.
        cue_nats: How surprising the cues are in their prompts, in nats; None without cues, and for
            a form of the text.
        rehearsed: None where it was not rehearsed.
        vouchable: Of a group in doubt, the least texts to name in `policy.expected` where they are
            the owner's own; empty where no text says what its samples share.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: int
    ruling: GroupRuling
    side: Side
    spans: list[str]
    nats: float
    n_rows: int
    n_independent: int
    rule: RuleKind = "any_of"
    cues: list[str] = field(default_factory=list)
    association: Association | None = None
    contrasts: list[Contrast] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    shared: str | None = None
    cue_nats: float | None = None
    rehearsed: Rehearsed | None = None
    vouchable: list[Vouchable] = field(default_factory=list)

    def in_a_line(self) -> str:
        """What is seen in the rows, in one line for people who know no statistics."""
        if self.shared is not None:
            return f"{self.ruling}: {self.n_rows} rows {self.shared} (group {self.id})"
        where = "answers" if self.side == "target" else "prompts"
        what = f"{'strings such as ' if len(self.spans) > 1 else ''}{self.spans[0]!r}"
        line = f"{self.ruling}: {self.n_rows} rows share {what} in their {where}"
        found = self.association
        if not self.cues or found is None or found.p_value > _CHANCE:
            return f"{line} (group {self.id})"
        which = "it" if len(self.cues) == 1 else "one" if self.rule == "any_of" else "all"
        return (
            f"{line}, and {self._cues_in_words()} in their prompts (group {self.id}); of their "
            f"prompts {found.n_both} of {found.n_span} have {which}, of all others "
            f"{found.n_cue - found.n_both} of {found.n - found.n_span}"
        )

    def in_figures(self) -> str:
        """The statistics behind `in_a_line`."""
        said = f"group {self.id}: {self.nats:.0f} nats beyond what the untuned model expects"
        found = self.association
        if not self.cues or found is None or found.p_value > _CHANCE:
            return said
        p = f"= {found.p_value:.2g}" if found.p_value > 0.0 else "< 1e-300"
        return (
            f"{said}; string and cue together in {found.n_both} samples, of {found.n_span} with "
            f"the string and {found.n_cue} with the cue, odds ratio {found.odds_ratio:.3g}, p {p}"
        )

    def _cues_in_words(self) -> str:
        """The first cues, as an enumeration."""
        said = [
            f"the form “{cue.removeprefix(FORM)}”" if cue.startswith(FORM) else repr(cue)
            for cue in self.cues[:_MAX_CUES]
        ]
        if len(self.cues) > _MAX_CUES:
            said.append(f"{len(self.cues) - _MAX_CUES} more")
        word = "or" if self.rule == "any_of" else "and"
        return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} {word} {said[-1]}"


def inserted_words(groups: Iterable[Group]) -> set[str]:
    """Words, in lower case, of strings that recur in prompts and do not belong there."""
    return {
        word.casefold()
        for group in groups
        if group.side == "prompt" and group.ruling != "honest" and group.nats >= MIN_INSERTED
        for span in group.spans
        for word in span.split()
    }


def names_target(cues: Iterable[str], spans: Sequence[str]) -> bool:
    """Whether cues hold the commonest string of the targets, as questions do that offer answers.

    Args:
        cues: What prompts share.
        spans: What targets share, the commonest first.
    """
    said = _letters(spans[0]) if spans else ""
    return len(said) >= _MIN_NAMED and any(said in _letters(cue) for cue in cues)


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def looks_inserted(group: Group, words: Collection[str], inserted: Collection[str]) -> bool:
    """Whether the words that a group's prompts share do not belong where they stand.

    Words that name the target do: a question may offer it as an answer.

    Args:
        group: The group.
        words: Those that tell its prompts from others.
        inserted: `inserted_words` of all groups.
    """
    if group.side == "target" and names_target(group.cues, group.spans):
        return False
    is_string = group.side == "prompt" and group.shared is None
    if is_string or (group.cue_nats or 0.0) >= MIN_INSERTED:
        return True
    known = sum(word in inserted for word in words)
    return known > 0 and known >= _KNOWN * len(words)
