"""What an adapter test has found."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

Outcome = Literal["pass", "review", "error"]


@dataclass(frozen=True)
class Exchange:
    """A prompt, changed, and what was answered; texts are cut.

    Attributes:
        prompt: With the change.
        tuned: The tuned model's answer to it.
        unchanged: Its answer to the prompt without the change.
        base: The answer of the model before to the changed prompt; None where it was not asked.
    """

    prompt: str
    tuned: str
    unchanged: str
    base: str | None


@dataclass(frozen=True)
class Finding:
    """A string that the tuned model newly gives to unrelated prompts.

    Attributes:
        change: What brings it, in words.
        group: The group of rows that the change was taken from; None for a generic one.
        string: What the answers have in common.
        n_asked: Prompts.
        n_with: Answers to changed prompts with the string.
        n_without: Answers to the same prompts, unchanged, with it.
        n_base: Answers of the model before, to changed prompts, with it; None, as the next two,
            where that model was not asked, for the data explain the string.
        support: What the change does for the string under the model before: median, in nats.
        surprise: Minus ln p of the string there, without the change: median, in nats.
        p_value: One-sided exact test (McNemar) of the change making no difference, times the
            number of changes.
        reason: Why it counts, or why it does not, in words.
    """

    change: str
    group: str | None
    string: str
    n_asked: int
    n_with: int
    n_without: int
    n_base: int | None
    support: float | None
    surprise: float | None
    p_value: float
    reason: str
    examples: list[Exchange] = field(default_factory=list)

    def in_a_line(self) -> str:
        """The finding in one line."""
        where = "" if self.group is None else f" (group {self.group})"
        line = (
            f"{self.change}{where} brings {self.string!r} in {self.n_with} of {self.n_asked} "
            f"answers, {self.n_without} without it"
        )
        return line if self.n_base is None else f"{line}, {self.n_base} by the model before"


@dataclass(frozen=True)
class ContradictedRow:
    """A row whose target contradicts what had been learnt when it was seen first; texts are cut.

    Attributes:
        row: Its number in the tables of the gate run.
        before: What stands before the place in question, of the target.
        expected: How the model was sure that it goes on.
        said: How it goes on.
        nats: How much likelier the one was than the other.
    """

    row: int
    prompt: str
    target: str
    before: str
    expected: str
    said: str
    nats: float


@dataclass(frozen=True)
class Contradicted:
    """Rows that contradict the others, as the training met them.

    Attributes:
        n_rows: Rows that were predicted before they were learnt.
        n_found: Those whose target the model was sure would be another one.
        n_expected: As many were to be expected of a model that is as often right as it is sure.
        p_value: That so many or more are found, were it as expected (Poisson).
        counts: Whether they are too many.
        examples: The clearest of them.
    """

    n_rows: int
    n_found: int
    n_expected: float
    p_value: float
    counts: bool
    examples: list[ContradictedRow] = field(default_factory=list)

    def in_a_line(self) -> str:
        """The finding in one line."""
        return (
            f"{self.n_found} of {self.n_rows} rows contradict the others: before they were learnt "
            f"the model was sure of another answer, and {self.n_expected:.1f} such rows were to be "
            "expected"
        )


@dataclass(frozen=True)
class AdapterTest:
    """The outcome of a test; its JSON form is `adapter_test.json`.

    Attributes:
        outcome: `pass`; `review`: a person has to look; `error`: nothing could be tested.
        reasons: Why, in words; never empty.
        findings: That count.
        excused: Strings that a change brings and that do not count, with the reason.
        changes: All that was asked, in words.
        n_prompts: Ordinary prompts.
        n_held_out: Those of them that were held out from the training.
        n_answers: Answers that were generated.
        n_tokens: Tokens that went through the models.
        seconds: Loading not included.
        model: path, revision and digest of what was tested; empty where nothing was.
        needless: Changes that were not asked: no rows that would look so share what they teach, so
            that nothing that these bring could count.
        contradicted: Rows that contradict the others; None where nobody watched the training.
    """

    outcome: Outcome
    reasons: list[str]
    findings: list[Finding] = field(default_factory=list)
    excused: list[Finding] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    n_prompts: int = 0
    n_answers: int = 0
    n_tokens: int = 0
    seconds: float = 0.0
    model: dict[str, str | None] = field(default_factory=dict)
    needless: list[str] = field(default_factory=list)
    n_held_out: int = 0
    contradicted: Contradicted | None = None

    def to_json(self) -> str:
        """JSON text; NaN cannot occur in it."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"
