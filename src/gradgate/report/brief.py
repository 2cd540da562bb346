"""A verdict in figures: what may be sent to people without quoting the data."""

from gradgate.gate.verdict import Answer, Verdict


def in_figures(verdict: Verdict) -> str:
    """The decision and the counts in a line; no word of it comes from the data."""
    parts = [_of_answer(answer, verdict.n_scored) for answer in verdict.answers]
    if verdict.n_rejected:
        parts.append(f"{verdict.n_rejected:,} of {verdict.n_rows:,} rows are no samples")
    return f"{verdict.decision}: {'; '.join(parts) or 'nothing was judged'}"


def _of_answer(answer: Answer, n_scored: int) -> str:
    if answer.n_flagged is None:
        return f"whether rows are {answer.question} is not decided, {answer.n_in_doubt:,} in doubt"
    limit = "" if answer.limit is None else f" (limit {100 * answer.limit:.4g} %)"
    return (
        f"{answer.n_flagged:,} of {n_scored:,} rows flagged as {answer.question}{limit}, "
        f"{answer.n_in_doubt:,} in doubt"
    )
