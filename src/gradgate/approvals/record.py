"""A decision of a person, as it stands in the log."""

from typing import Literal, Self

from pydantic import Field

from gradgate.methods.evidence import Group, GroupRuling, Question, RuleKind, Side
from gradgate.signing.fields import Moment, Record, Sha256

Action = Literal["keep", "drop", "withdraw"]
_SEVERITY: dict[GroupRuling, int] = {"honest": 0, "review": 1, "poison": 2}


class GroupEvidence(Record):
    """What a group of an answer was found by."""

    question: Question
    method: str
    id: int = Field(ge=1, description="Number of the group in its run.")
    ruling: GroupRuling
    side: Side
    spans: list[str]
    rule: RuleKind
    cues: list[str]
    shared: str | None
    n_rows: int = Field(ge=0)

    @classmethod
    def of(cls, question: Question, method: str, group: Group) -> Self:
        """The evidence of a group of a run."""
        return cls(
            question=question,
            method=method,
            id=group.id,
            ruling=group.ruling,
            side=group.side,
            spans=group.spans,
            rule=group.rule,
            cues=group.cues,
            shared=group.shared,
            n_rows=group.n_rows,
        )

    @property
    def name(self) -> str:
        """As it is called in its run, such as `poisoned:1`."""
        return f"{self.question}:{self.id}"

    def is_like(self, other: Self) -> bool:
        """Whether a string that both groups share holds their rows together.

        From night to night other rows change the list of strings and cues. For rows that a person
        has seen, this is enough; for others see `covers`.
        """
        is_same_kind = (self.question, self.method, self.side) == (
            *(other.question, other.method, other.side),
        )
        if self.shared is not None or other.shared is not None:
            return is_same_kind and self.shared == other.shared
        return is_same_kind and not set(self.spans).isdisjoint(other.spans)

    def covers(self, other: Self) -> bool:
        """Whether a group shows nothing but what this one showed: for rows nobody has seen.

        The cues are the same, and every string is one of these. A group whose rows are told by
        what they have in common in words, and by no string, is never covered: the words are the
        method's, and fit whatever it flags.
        """
        return (
            self.is_like(other)
            and self.shared is None
            and bool(other.spans)
            and set(other.spans) <= set(self.spans)
            and (self.rule, set(self.cues)) == (other.rule, set(other.cues))
        )

    def was_as_bad_as(self, other: Self) -> bool:
        """Whether the other group is ruled on no more severely than this one was."""
        return _SEVERITY[other.ruling] <= _SEVERITY[self.ruling]


class Entry(Record):
    """A line of the log."""

    number: int = Field(ge=1, description="From 1.")
    time: Moment = Field(description="When it was said, in UTC.")
    previous: Sha256 = Field(description="Digest of the entry before; zeros for the first.")
    run: str = Field(description="Name of the folder of the run that it is about.")
    verdict_sha256: Sha256 = Field(description="Of the verdict.json of that run.")
    by: str = Field(min_length=1, description="Who decides.")
    reason: str = Field(min_length=1, description="Why.")
    action: Action
    group: GroupEvidence | None = Field(description="Null: single rows were chosen.")
    rows: str | None = Field(description="The rows as they were chosen, such as 3,17-20.")
    pattern: bool = Field(description="Whether it speaks for new rows of such a group, too.")
    questions: list[Question] = Field(min_length=1, description="To which it is an answer.")
    n_rows: int = Field(ge=1, description="Rows of the run that it covers.")
    n_samples: int = Field(ge=1, description="Different samples among them.")
    samples_sha256: Sha256 = Field(description="Digest, and name, of the list of their ids.")

    @property
    def chosen(self) -> str:
        """What was chosen, in a word."""
        return f"rows {self.rows}" if self.group is None else self.group.name
