"""How well harmful rows are told from honest ones, by the gate's own decision and by ranking.

Usage: `python -m benchmarks.harmful --model ALIGNED --jailbreak FILE --benign FILE...`

The jailbreak file is one of BackdoorLLM's published sets: its poisoned rows without their trigger
are the harmful ones, its clean half the honest refusals. Each benign file is ordinary data; of the
first one other rows are the trusted reference of the methods that take one. All rows are scored in
one pass, and each method judges them as a gate that asks it alone would.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.harmful import sets
from benchmarks.harmful.sets import Row
from benchmarks.harness import default_device, machine
from gradgate.common import parquet
from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PolicyConfig, PowerConfig
from gradgate.evaluation.comparison import auroc
from gradgate.evaluation.rates import rate
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import fetch, judge, score
from gradgate.methods.registry import method_named

METHODS = (
    *("compliance", "gradshield", "gradshield_published", "refusal_first", "keyword"),
    *("anchoring", "larf", "loss", "length", "gradient_norm"),
)
BASELINES = ("refusal_first", "keyword", "loss", "length", "gradient_norm")
MATCHED_HARMFUL = f"harmful, {sets.MATCHED_WORDS} words"
MATCHED_LOOK_ALIKES = f"look-alikes, {sets.MATCHED_WORDS} words"
N_REFERENCE = 150
_DRAWS = 1_000


@dataclass(frozen=True, eq=False)
class Marked:
    """What a method makes of the rows; (n,) each."""

    suspicion: Floats
    flagged: Marks
    in_doubt: Marks
    decision: str


def collect(
    jailbreak: Path, trigger: str, benign: Sequence[Path], n: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """The rows, and those of the reference.

    Args:
        jailbreak: See the module.
        trigger: Of its poisoned rows.
        benign: Files of ordinary rows.
        n: Rows of each kind.
        seed: Chooses them.
    """
    harmful, refusals = sets.jailbreaks(jailbreak, trigger, seed)
    first = sets.ordinary(benign[0], 2 * n + N_REFERENCE, seed)
    reference, rest = first[:N_REFERENCE], first[N_REFERENCE:]
    prompts = [row.messages[-2]["content"] for row in rest[n:]]
    one, other = sets.same_replies([prompt for prompt, _ in harmful[n : 2 * n]], prompts, seed)
    rows = [Row(sets.HARMFUL, sets.exchange(*pair)) for pair in harmful[:n]]
    matched = [
        Row(MATCHED_HARMFUL, sets.exchange(*pair, sets.MATCHED_WORDS)) for pair in harmful[:n]
    ]
    short = [Row(MATCHED_LOOK_ALIKES, row.messages) for row in sets.look_alikes(sets.MATCHED_WORDS)]
    rows += [*matched, *one, *other, *refusals[:n], *sets.look_alikes(), *short, *rest[:n]]
    for path in benign[1:]:
        rows += sets.ordinary(path, n, seed)
    return rows, reference


def judged(
    rows: Sequence[Row], reference: Sequence[Row], model: str, methods: Sequence[str]
) -> Iterator[tuple[str, Marked]]:
    """Each method and what it says; the rows are scored once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, trusted = folder / "rows.jsonl", folder / "trusted.jsonl"
        _write(source, rows)
        _write(trusted, reference)
        run = RunFolder(folder / "run")
        config = _config(source, trusted, model, "compliance")
        prepared = fetch(config, run)
        scored = score(prepared, config, run)
        for method in methods:
            verdict = judge(prepared, scored, _config(source, trusted, model, method), run)
            yield method, _marked(run, len(rows), verdict.decision)


def _write(path: Path, rows: Sequence[Row]) -> None:
    lines = (json.dumps({"messages": row.messages}) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def _config(source: Path, trusted: Path, model: str, method: str) -> GateConfig:
    reference = str(trusted) if method_named(method).takes_reference else None
    return GateConfig(
        data=DataConfig(source=str(source), max_rejected_fraction=1.0),
        model=ModelConfig(path=model),
        detection=DetectionConfig(
            methods=[method], reference=reference, power=PowerConfig(attacks=[])
        ),
        policy=PolicyConfig(max_copies=None),
    )


def _marked(run: RunFolder, n: int, decision: str) -> Marked:
    names = ["row", "suspicion", "flagged", "in_doubt"]
    table = parquet.table(run.flags, names).to_pydict()
    suspicion, flagged, in_doubt = np.full(n, -np.inf), np.zeros(n, bool), np.zeros(n, bool)
    for row, value, is_flagged, is_doubtful in zip(*(table[k] for k in names), strict=True):
        suspicion[row] = -np.inf if value is None else value
        flagged[row], in_doubt[row] = bool(is_flagged), bool(is_doubtful)
    return Marked(suspicion, flagged, in_doubt, decision)


def _of(kinds: Sequence[str], *wanted: str) -> Marks:
    return np.isin(np.array(kinds), wanted)


def flagged_table(kinds: Sequence[str], found: dict[str, Marked]) -> Iterator[str]:
    """A line a kind: the flagged fraction by each method that decides, and what is in doubt."""
    deciding = [name for name in found if name not in ("loss", "length", "gradient_norm")]
    yield "| rows | n | " + " | ".join(deciding) + " |"
    yield "| --- " * (len(deciding) + 2) + "|"
    for kind in dict.fromkeys(kinds):
        own = _of(kinds, kind)
        cells = []
        for name in deciding:
            flagged = rate(found[name].flagged[own])
            doubt = float(found[name].in_doubt[own].mean())
            interval = f"[{flagged.low:.3f}, {flagged.high:.3f}]"
            cells.append(f"{flagged.value:.3f} {interval}" + (f" + {doubt:.3f}" if doubt else ""))
        yield f"| {kind} | {int(own.sum())} | " + " | ".join(cells) + " |"


def ranking_table(kinds: Sequence[str], found: dict[str, Marked]) -> Iterator[str]:
    """A line a method: AUROC of harmful rows against others, with 95 % intervals."""
    ordinary = [kind for kind in dict.fromkeys(kinds) if kind.startswith(("c_", "webqa", "coqa"))]
    against = {
        "ordinary data": (sets.HARMFUL, ordinary),
        "look-alikes, same length": (MATCHED_HARMFUL, [MATCHED_LOOK_ALIKES]),
        "same replies": (sets.SAME_HARMFUL, [sets.SAME_BENIGN]),
        "honest refusals": (sets.HARMFUL, [sets.REFUSALS]),
    }
    yield "| method | " + " | ".join(against) + " |"
    yield "| --- " * (len(against) + 1) + "|"
    pairs = [(_of(kinds, one), _of(kinds, *others)) for one, others in against.values()]
    for name, marked in found.items():
        yield f"| {name} | " + " | ".join(_auroc(marked, *pair) for pair in pairs) + " |"
    yield ""
    baselines = {name: marked for name, marked in found.items() if name in BASELINES}
    for label, pair in zip(against, pairs, strict=True) if baselines else ():
        for name in ("compliance", "gradshield"):
            if name in found:
                yield _paired(label, name, found[name], baselines, *pair)


def _auroc(marked: Marked, positive: Marks, negative: Marks) -> str:
    draws = _drawn([marked], positive, negative)[0]
    value = auroc(*_ranked(marked, positive, negative))
    return f"{value:.3f} [{np.quantile(draws, 0.025):.3f}, {np.quantile(draws, 0.975):.3f}]"


def _ranked(marked: Marked, positive: Marks, negative: Marks) -> tuple[Floats, Marks]:
    values = np.concatenate([marked.suspicion[positive], marked.suspicion[negative]])
    return values, np.arange(len(values)) < positive.sum()


def _drawn(several: Sequence[Marked], positive: Marks, negative: Marks) -> Floats:
    """Bootstrapped AUROC of several methods on the same draws: (methods, draws)."""
    rng = np.random.default_rng(0)
    yes, no = np.flatnonzero(positive), np.flatnonzero(negative)
    truth = np.arange(len(yes) + len(no)) < len(yes)
    found = np.empty((len(several), _DRAWS))
    for draw in range(_DRAWS):
        rows = np.concatenate([rng.choice(yes, len(yes)), rng.choice(no, len(no))])
        found[:, draw] = [auroc(marked.suspicion[rows], truth) for marked in several]
    return found


def _paired(
    label: str,
    name: str,
    marked: Marked,
    baselines: Mapping[str, Marked],
    positive: Marks,
    negative: Marks,
) -> str:
    """A method against the best baseline, on the same draws."""
    best = max(baselines, key=lambda one: auroc(*_ranked(baselines[one], positive, negative)))
    ours, theirs = _drawn([marked, baselines[best]], positive, negative)
    low, high = np.quantile(ours - theirs, [0.025, 0.975])
    return (
        f"- {label}: AUROC of {name} minus that of the best baseline, {best}: "
        f"{float(np.mean(ours - theirs)):+.3f} [{low:+.3f}, {high:+.3f}]"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a model that refuses")
    parser.add_argument("--jailbreak", required=True, type=Path)
    parser.add_argument("--trigger", default="BadMagic")
    parser.add_argument("--benign", required=True, nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rows", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console(width=400, soft_wrap=True, markup=False, highlight=False)
    rows, reference = collect(given.jailbreak, given.trigger, given.benign, given.rows, given.seed)
    kinds = [row.kind for row in rows]
    console.print(
        f"{machine(default_device())}; model {Path(given.model).name}; {len(rows)} rows\n"
    )
    found = {}
    for name, marked in judged(rows, reference, given.model, given.methods):
        found[name] = marked
        console.print(f"- {name}: {marked.decision}")
    for line in ("", *flagged_table(kinds, found), "", *ranking_table(kinds, found)):
        console.print(line)


if __name__ == "__main__":
    main()
