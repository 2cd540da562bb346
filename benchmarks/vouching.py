"""What is left in doubt when an owner vouches for the texts that the gate offers.

Usage: `python -m benchmarks.vouching --model MODEL [--runs 4] FILE...`

Files as for `benchmarks.others`. The owner is played by the labels: a text is theirs where fewer
than a fifth of the rows that have it are poisoned. The gate is run again with these in
`policy.expected`, until it passes, nothing new of theirs is offered, or the runs are over.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.others import HEAD, Case, cases, decide

_MAX_POISONED = 0.2  # of the rows with a text that the owner takes for theirs


def texts_in(value: object) -> Iterator[str]:
    """All strings in a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


def is_own(text: str, case: Case) -> bool:
    """Whether the owner would vouch for a text; what no row has as it stands is left out."""
    labels = case.is_poisoned.tolist()
    has = [
        is_poisoned
        for row, is_poisoned in zip(case.rows, labels, strict=True)
        if any(text in one for one in texts_in(row))
    ]
    return bool(has) and sum(has) < _MAX_POISONED * len(has)


def main() -> None:
    """Print a line a run as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    console = Console(width=400, soft_wrap=True, markup=False, highlight=False)
    console.print(HEAD)
    for case in (case for path in given.files for case in cases(path, [], [0])):
        named: list[str] = []
        for run in range(1, given.runs + 1):
            found = decide(case, given.model, named)
            console.print(f"{found.line()} run {run}, {len(named)} texts")
            new = [one for one in dict.fromkeys(found.offered) if one not in named]
            own = [one for one in new if is_own(one, case)]
            if found.decision == "pass" or not own:
                break
            named += own


if __name__ == "__main__":
    main()
