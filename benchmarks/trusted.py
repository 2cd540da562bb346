"""What the gate makes of a dataset with rows that its owner trusts.

Usage: `python -m benchmarks.trusted --model MODEL [--rows N] [--without] [--thin] FILE...`

Files as for `benchmarks.others`. Of the honest rows of each some are drawn and named in
`detection.reference`; the others, with all poison, are judged with them, and without them.
"""

import argparse
from pathlib import Path
from random import Random

import numpy as np
from rich.console import Console

from benchmarks.others import HEAD, Case, Rows, cases, decide


def parted(case: Case, n: int, seed: int, is_thinned: bool = False) -> tuple[Case, Rows]:
    """A set without n honest rows, and these; thinned, it has the poison fraction of before."""
    rng = Random(seed)
    honest, poison = (np.flatnonzero(case.is_poisoned == is_bad).tolist() for is_bad in (0, 1))
    chosen = rng.sample(honest, n)
    kept = np.ones(len(case.rows), bool)
    kept[chosen] = False
    if is_thinned:
        kept[rng.sample(poison, round(len(poison) * n / len(honest)))] = False
    left = [row for row, is_kept in zip(case.rows, kept, strict=True) if is_kept]
    return Case(case.name, left, case.is_poisoned[kept]), [case.rows[i] for i in chosen]


def main() -> None:
    """Print the lines of a set as soon as they are known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", action="store_true", help="judge the same rows without, too")
    parser.add_argument("--thin", action="store_true", help="leave out as much of the poison, too")
    parser.add_argument("--why", action="store_true", help="print the reasons of each verdict")
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    console = Console(width=400, soft_wrap=True, markup=False, highlight=False)
    console.print(HEAD)
    for case in (case for path in given.files for case in cases(path, [], [0])):
        left, trusted = parted(case, given.rows, given.seed, given.thin)
        asked = {"without": None} if given.without else {}
        for name, rows in {**asked, f"with {given.rows}": trusted}.items():
            found = decide(left, given.model, trusted=rows)
            console.print(f"{found.line()} {name}")
            if given.why:
                console.print(f"  {found.why}")


if __name__ == "__main__":
    main()
