"""The last lines of `gradgate detect`: what was found, where it lies, what comes next."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gradgate.cli.lines import say_named, under
from gradgate.cli.rejections import all_rejected
from gradgate.gate.verdict import Answer, Verdict
from gradgate.report.facts import sums
from gradgate.report.vouching import in_lines

_MAX_TEXTS = 12  # that are said on a terminal
_VOUCH = "(those that are your own wording can be named in policy.expected)"
_TRUST = "(150 rows of the kind that you have looked at settle most of them at once: --reference)"


@dataclass(frozen=True)
class Written:
    """The files that a run has left; None for one that there was no occasion for.

    Attributes:
        rows: The folder of the accepted, the quarantined and the rejected rows.
        first_rejected: Where the first rejected rows stand in the source, and why they are.
    """

    table: Path | None
    report: Path | None
    rows: Path
    attestation: Path | None = None
    first_rejected: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> Path:
        """The file of the rejected rows; the folder where that has none."""
        return next(iter(sorted(self.rows.glob("rejected.*"))), self.rows)

    @property
    def paths(self) -> list[Path]:
        """Those that are there, the table first."""
        files = (self.table, self.report, self.rows, self.attestation)
        return [path for path in files if path is not None]


def say_summary(verdict: Verdict, written: Written) -> None:
    """Say what a run found."""
    say_named(_lines(verdict, written))


def _lines(verdict: Verdict, written: Written) -> Iterator[tuple[str, str]]:
    yield "rows", f"{verdict.n_rows:,} ({verdict.n_rejected:,} rejected)"
    if written.first_rejected:
        listed = all_rejected(written.first_rejected, verdict.n_rejected, written.rejected)
        yield from under("rejected", listed)
    for answer in verdict.answers:
        yield from _answer(answer, verdict.n_open)
    if verdict.approvals:
        yield "by people", f"{verdict.n_kept:,} rows kept, {verdict.n_dropped:,} dropped"
    if verdict.accounts is not None:
        yield "accounts", sums(verdict.accounts)
    yield "verdict", verdict.decision.upper()
    yield from under("because", verdict.reasons)
    if lines := in_lines(verdict, _MAX_TEXTS):
        hints = [_VOUCH] if verdict.reference else [_VOUCH, _TRUST]
        yield from under("yours?", [*lines, *hints])
    yield from under("evidence", map(str, written.paths))
    yield "next", _next(verdict, written)


def _answer(answer: Answer, n_open: int) -> Iterator[tuple[str, str]]:
    flagged = "nothing could be decided"
    if answer.n_flagged is not None and answer.fraction is not None:
        flagged = f"{answer.n_flagged:,} of {n_open:,} rows ({answer.fraction:.2%})"
    yield "flagged", f"{flagged} as {answer.question}, by {answer.method}"
    yield "in doubt", f"{answer.n_in_doubt:,}"
    found = [power for power in answer.power or [] if power.smallest_rows is not None]
    if found:
        yield "shows from", ", ".join(f"{power.attack} {power.shows_from}" for power in found)
    if answer.blind_to:
        yield "blind to", ", ".join(answer.blind_to)


def _next(verdict: Verdict, written: Written) -> str:
    """What a reader can do now."""
    if not verdict.answers and verdict.decision == "fail":
        return f"mend the rows of the source; those rejected are in {written.rejected}"
    shown = written.report or f"{written.rows} (for a page with the reasons, name a --report)"
    nothing_out = all(not a.n_flagged and not a.n_in_doubt for a in verdict.answers)
    review = f"let a person look at {shown}, and decide"
    if nothing_out and verdict.decision == "review":
        review = "nothing is flagged or in doubt; what is missing for a pass is named above"
    return {
        "pass": f"train on the accepted rows in {written.rows}",
        "review": review,
        "fail": f"look at the flagged rows in {shown}, and do not train on this dataset",
        "error": _mend(verdict, written),
    }[verdict.decision]


def _mend(verdict: Verdict, written: Written) -> str:
    """What an error asks for: a row without a score, or what a method lacks."""
    if all(answer.decision != "error" for answer in verdict.answers):
        return f"mend what is named above; in {written.table}, `reason` says why a row has no score"
    return "mend what is named above, and run it again"
