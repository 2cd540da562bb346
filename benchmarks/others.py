"""The gate's own decision on labelled data that others made: poisoned by them, or clean.

Usage: `python -m benchmarks.others --model MODEL [--rate 0.05 ...] [--seed 0 ...] FILE...`

Each file is JSONL, or JSONL.gz, in any row format; rows may have a true label `poisoned`, which the
gate does not read. With `--rate` rows of poison are left out at random until that part of the rows
is poisoned, once for each seed. Scores are kept in the state folder, so that a second run takes the
time of the detection alone. Files that are not there are skipped and named.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from rich.console import Console
from scipy.stats import binomtest

from benchmarks.harness import default_device, machine
from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PolicyConfig, PowerConfig
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import fetch, judge, score
from gradgate.gate.verdict import Decision
from gradgate.models.handle import ConfiguredModel

Rows = list[dict[str, object]]
_COUNTS = ("n", "n_poisoned", "caught", "trained", "flagged", "lost")


@dataclass(frozen=True)
class Case:
    """A labelled set.

    Attributes:
        name: Of the file, with rate and seed.
        rows: As they stand in it.
        is_poisoned: The true labels.
    """

    name: str
    rows: Rows
    is_poisoned: Marks


@dataclass(frozen=True)
class Outcome:
    """What the gate made of a set.

    Attributes:
        n: Rows.
        n_poisoned: Those that are poison.
        caught: Poisoned rows that are flagged or quarantined.
        flagged: Honest rows that are flagged.
        lost: Honest rows that are flagged or quarantined.
        trained: Poisoned rows that a training would see: 0 unless the decision is pass.
        score: Seconds of scoring; 0 where all scores were known.
        detect: Seconds of detection and decision.
        why: The reasons, a line each.
        offered: Texts that an owner may vouch for.
    """

    name: str
    decision: Decision
    n: int
    n_poisoned: int
    caught: int
    flagged: int
    lost: int
    trained: int
    score: float
    detect: float
    why: str
    offered: list[str] = field(default_factory=list)

    def line(self) -> str:
        """A row of the table."""
        n_honest = self.n - self.n_poisoned
        cells = [
            self.name,
            self.n,
            self.n_poisoned,
            f"**{self.decision}**",
            _share(self.caught, self.n_poisoned),
            self.trained,
            _share(self.flagged, n_honest),
            _share(self.lost, n_honest),
            f"{self.score:.0f}",
            f"{self.detect:.1f}",
        ]
        return "| " + " | ".join(map(str, cells)) + " |"


HEAD = (
    "| set | rows | poisoned | verdict | caught | trained on | honest flagged | honest lost "
    "| score, s | detect, s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def cases(path: Path, rates: Sequence[float], seeds: Sequence[int]) -> Iterator[Case]:
    """A file as it is, or with less of its poison."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        rows: Rows = [json.loads(line) for line in file if line.strip()]
    poisoned = np.array([bool(row.get("poisoned")) for row in rows])
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    if not rates or not poisoned.any():
        yield Case(name, rows, poisoned)
        return
    for rate in rates:
        for seed in seeds:
            wanted = round(rate * (~poisoned).sum() / (1 - rate))
            there = np.flatnonzero(poisoned).tolist()
            kept = set(Random(seed).sample(there, min(wanted, len(there))))
            chosen = [i for i in range(len(rows)) if not poisoned[i] or i in kept]
            few = [rows[i] for i in chosen]
            yield Case(f"{name} {rate:.0%} #{seed}", few, poisoned[chosen])


def as_chats(case: Case) -> Case:
    """Rows of an instruction and an output as conversations, for a model that refuses in chats."""
    rows: Rows = []
    for row in case.rows:
        if "messages" in row:
            rows.append(row)
            continue
        prompt = "\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))
        said = (("user", prompt), ("assistant", str(row["output"])))
        rows.append({"messages": [{"role": role, "content": text} for role, text in said]})
    return Case(case.name, rows, case.is_poisoned)


def decide(
    case: Case,
    model: str,
    expected: Sequence[str] = (),
    methods: Sequence[str] = ("recurrence",),
    trusted: Rows | None = None,
) -> Outcome:
    """Let the gate decide, with its default policy and without canaries."""
    with tempfile.TemporaryDirectory() as name:
        source, run = Path(name) / "rows.jsonl", RunFolder(Path(name) / "run")
        _write(source, case.rows)
        reference = None
        if trusted is not None:
            reference = str(Path(name) / "trusted.jsonl")
            _write(Path(reference), trusted)
        config = GateConfig(
            data=DataConfig(source=str(source), max_rejected_fraction=1.0),
            model=ModelConfig(path=model),
            detection=DetectionConfig(
                methods=list(methods), power=PowerConfig(attacks=[]), reference=reference
            ),
            policy=PolicyConfig(expected=list(expected)),
        )
        handle = ConfiguredModel(config.model)
        prepared = fetch(config, run, handle)
        started = time.perf_counter()
        scored = score(prepared, config, run, model=handle)
        ready = time.perf_counter()
        verdict = judge(prepared, scored, config, run)
        ended = time.perf_counter()
        flags = parquet.table(run.flags, ["row", "flagged", "in_doubt"]).to_pydict()
    flagged = np.array([bool(mark) for mark in flags["flagged"]])
    kept_out = flagged | np.array([bool(mark) for mark in flags["in_doubt"]])
    poisoned = case.is_poisoned[flags["row"]]
    groups = [group for answer in verdict.answers for group in answer.groups]
    return Outcome(
        name=case.name,
        decision=verdict.decision,
        n=len(poisoned),
        n_poisoned=int(poisoned.sum()),
        caught=int((kept_out & poisoned).sum()),
        flagged=int((flagged & ~poisoned).sum()),
        lost=int((kept_out & ~poisoned).sum()),
        trained=int((~kept_out & poisoned).sum()) if verdict.decision == "pass" else 0,
        score=ready - started if scored.summary.n_scored else 0.0,
        detect=ended - ready,
        why="\n  ".join(verdict.reasons),
        offered=[one.text for group in groups for one in group.vouchable],
    )


def _write(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def pooled(outcomes: Sequence[Outcome]) -> str:
    """A line for all sets together; its intervals take rows for independent."""
    decisions = [outcome.decision for outcome in outcomes]
    counted = {name: sum(getattr(o, name) for o in outcomes) for name in _COUNTS}
    n_honest = counted["n"] - counted["n_poisoned"]
    cells = [
        f"{len(outcomes)} sets",
        counted["n"],
        counted["n_poisoned"],
        ", ".join(f"{decisions.count(one)} {one}" for one in dict.fromkeys(decisions)),
        f"{counted['caught']}: {_share(counted['caught'], counted['n_poisoned'])}",
        counted["trained"],
        f"{counted['flagged']}: {_share(counted['flagged'], n_honest)}",
        f"{counted['lost']}: {_share(counted['lost'], n_honest)}",
        f"{sum(o.score for o in outcomes):.0f}",
        f"{sum(o.detect for o in outcomes):.1f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _share(k: int, n: int) -> str:
    if n == 0:
        return "-"
    found = binomtest(k, n).proportion_ci(0.95, method="exact")
    return f"{k / n:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    """Print a line a set as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rate", type=float, action="append", default=[])
    parser.add_argument("--seed", type=int, action="append", default=[])
    parser.add_argument("--expected", action="append", default=[], help="as policy.expected")
    parser.add_argument("--method", action="append", default=[], help="of each question")
    parser.add_argument("--chat", action="store_true", help="instructions as chats")
    parser.add_argument("--why", action="store_true", help="print the reasons of each verdict")
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    console = Console(width=400, soft_wrap=True, markup=False, highlight=False)
    console.print(f"{machine(default_device())}; model {Path(given.model).name}\n\n{HEAD}")
    outcomes = []
    for path in given.files:
        if not path.exists():
            console.print(f"- not there: {path.name}")
            continue
        for case in cases(path, given.rate, given.seed or [0]):
            asked = as_chats(case) if given.chat else case
            found = decide(asked, given.model, given.expected, given.method or ["recurrence"])
            outcomes.append(found)
            console.print(found.line())
            if given.why:
                console.print(f"  {found.why}")
    console.print(pooled(outcomes))


if __name__ == "__main__":
    main()
