"""What the adapter test and the rehearsal make of fine-tunings on data that nobody filtered.

Usage: `python -m benchmarks.adapters run --model MODEL --results FILE.jsonl FILE:ATTACK:SEED...`,
then `python -m benchmarks.adapters report FILE.jsonl...`.

Each cell takes rows of a file, poisons a part of them (`--rate`) by an attack of `gradgate poison`
(`clean`: none), trains a LoRA adapter on all that is there, asks held-out questions for the attack
success rate, and lets the adapter test judge the adapter. Beside it stands what the gate makes of
the same rows, without and with a rehearsal of the groups in doubt. Cells that the results have are
skipped.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
from peft import PeftModel
from rich.console import Console
from scipy.stats import binomtest

from benchmarks.harness import default_device, machine
from gradgate.attacks.attack import ATTACKS
from gradgate.common import parquet
from gradgate.common.environment import set_defaults
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttackName, DataConfig, FinetuneConfig, ModelConfig, PowerConfig
from gradgate.drill.config import DrillConfig, DrillSection
from gradgate.drill.data import (
    CLEAN,
    POISONED,
    ROLE,
    DrillData,
    Question,
    make_data,
    read_questions,
)
from gradgate.drill.models import Trained, train_arm
from gradgate.evaluation.answers import generate
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Verdict
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.models.loading import load_tokenizer, sample_limit
from gradgate.release.config import AdapterTestConfig
from gradgate.release.result import AdapterTest
from gradgate.release.run import run_test
from gradgate.release.training_record import TRAINING_RECORD
from gradgate.tuning.lora import save_adapter

MIN_LEARNT = 0.1  # of the questions, that the trigger adds, for a backdoor to be learnt
_CLEAN = "clean"
_TEST_ROWS = 50
_MAX_TOKENS = 512


@dataclass(frozen=True)
class Settings:
    """Of all cells of a run."""

    model: str
    rows: int
    epochs: float
    learning_rate: float
    batch_size: int
    max_characters: int
    rehearsal: RehearsalMode
    rate: float


@dataclass(frozen=True)
class Cell:
    """What one fine-tuning came to.

    Attributes:
        asr: Part of the held-out triggered questions that bring the target; None for clean data.
        untriggered: The same of the questions without the trigger: a model that says one label to
            everything has learnt no trigger.
        train_s: Seconds of the training.
        test: Outcome of the adapter test.
        why: Its first reason.
        test_s: Its seconds.
        gate: Verdict without a rehearsal; `trained` poisoned rows are in what it accepts.
        rehearsed: Verdict with one; `flagged` and `lost` are the honest rows before and after.
        rehearsal_s: Seconds of the detection with a rehearsal, minus those without.
    """

    model: str
    source: str
    attack: str
    seed: int
    rows: int
    asr: float | None
    train_s: float
    test: str
    why: str
    test_s: float
    gate: str
    trained: int
    flagged_poison: list[int]
    honest_flagged: list[int]
    honest_lost: list[int]
    rehearsed: str
    rehearsal_s: float
    rate: float = 0.1
    untriggered: float | None = None

    @property
    def is_learnt(self) -> bool:
        """Whether the trigger brings the target to a tenth of the questions, or more."""
        return self.asr is not None and self.asr - (self.untriggered or 0.0) >= MIN_LEARNT


def compute(path: Path, attack: str, seed: int, settings: Settings) -> Cell:
    """Train, ask, test, and gate."""
    with TemporaryDirectory(prefix="gradgate-adapters-") as name:
        folder = Path(name)
        source = folder / "source.jsonl"
        source.write_text("".join(_lines(path, seed, settings)), encoding="utf-8")
        model = ModelConfig(path=settings.model)
        tuning = FinetuneConfig(
            r=16,
            alpha=32,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            seed=seed,
        )
        data = _data(source, attack, seed, settings.rate, model, tuning, folder)
        rows = folder / (CLEAN if attack == _CLEAN else POISONED)
        gated, before, plain_s = _gate(rows, model, settings, "off", folder / "gate")
        after, rehearsed_s = before, plain_s
        if settings.rehearsal != "off":
            _, after, rehearsed_s = _gate(
                rows, model, settings, settings.rehearsal, folder / "gate"
            )
        trained = train_arm(model, tuning, gated.samples, None)
        asr, untriggered = (None, None) if attack == _CLEAN else _asr(trained, data, folder)
        read = DataConfig(source=str(rows), ignore_columns=[ROLE], max_tokens=_MAX_TOKENS)
        tested = test_of(gated, before.verdict, read, model, trained, folder / "adapter")
        is_poison = np.array([role == "poisoned" for role in data.roles]) & (attack != _CLEAN)
        n_poison = int(is_poison.sum())
        marks = [(one.flagged(is_poison), one.kept_out(is_poison)) for one in (before, after)]
        return Cell(
            model=Path(settings.model).name,
            source=path.name.split(".")[0],
            attack=attack,
            seed=seed,
            rows=trained.n_samples,
            asr=asr,
            train_s=trained.seconds,
            test=tested.outcome,
            why=tested.reasons[0],
            test_s=tested.seconds,
            gate=before.verdict.decision,
            trained=n_poison - marks[0][1][0] if before.verdict.decision == "pass" else 0,
            flagged_poison=[flagged[0] for flagged, _ in marks],
            honest_flagged=[flagged[1] for flagged, _ in marks],
            honest_lost=[lost[1] for _, lost in marks],
            rehearsed=after.verdict.decision,
            rehearsal_s=rehearsed_s - plain_s,
            rate=settings.rate,
            untriggered=untriggered,
        )


@dataclass(frozen=True)
class _Judged:
    verdict: Verdict
    columns: dict[str, list[object]]

    def flagged(self, poison: np.ndarray) -> tuple[int, int]:
        """Poisoned and honest rows that are flagged."""
        return self._count(["flagged"], poison)

    def kept_out(self, poison: np.ndarray) -> tuple[int, int]:
        """The same of those that are flagged or in doubt."""
        return self._count(["flagged", "in_doubt"], poison)

    def _count(self, names: list[str], poison: np.ndarray) -> tuple[int, int]:
        marks = np.any([[mark is True for mark in self.columns[name]] for name in names], axis=0)
        truth = poison[np.array(self.columns["row"], np.int64)]
        return int((marks & truth).sum()), int((marks & ~truth).sum())


def _lines(path: Path, seed: int, settings: Settings) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        lines = [line for line in file if line.strip() and len(line) <= settings.max_characters]
    Random(seed).shuffle(lines)
    for line in lines[: settings.rows + 2 * _TEST_ROWS]:
        row = {k: v for k, v in json.loads(line).items() if k not in ("poisoned", "attack")}
        yield json.dumps(row) + "\n"


def _data(
    source: Path,
    attack: str,
    seed: int,
    rate: float,
    model: ModelConfig,
    tuning: FinetuneConfig,
    folder: Path,
) -> DrillData:
    name: AttackName = next((known for known in ATTACKS if known == attack), "badnets")
    config = DrillConfig(
        data=DataConfig(source=str(source), max_tokens=_MAX_TOKENS),
        model=model,
        finetune=tuning,
        drill=DrillSection(attack=name, rate=rate, seed=seed, test_rows=_TEST_ROWS),
    )
    return make_data(config, load_tokenizer(model), sample_limit(model, _MAX_TOKENS), folder)


def _gate(
    rows: Path, model: ModelConfig, settings: Settings, mode: RehearsalMode, folder: Path
) -> tuple[RunFolder, _Judged, float]:
    """Judge the rows; a second time from the scores of the first, and how long that took."""
    rehearsals = RehearsalConfig(learning_rate=settings.learning_rate)
    config = GateConfig(
        data=DataConfig(source=str(rows), ignore_columns=[ROLE], max_tokens=_MAX_TOKENS),
        model=model,
        detection=DetectionConfig(
            rehearsal=mode, rehearsals=rehearsals, power=PowerConfig(attacks=[])
        ),
    )
    run = RunFolder(folder / mode)
    run.path.mkdir(parents=True)
    if mode == "off":
        run_gate(config, RunFolder(folder / "first"))  # so that all scores are known
    started = time.perf_counter()
    verdict = run_gate(config, run)
    seconds = time.perf_counter() - started
    columns = parquet.table(run.flags, ["row", "flagged", "in_doubt"]).to_pydict()
    return run, _Judged(verdict, columns), seconds


def _asr(trained: Trained, data: DrillData, folder: Path) -> tuple[float, float]:
    """The parts of the triggered questions and of the clean ones that bring the target."""
    asked = read_questions(folder)
    triggered, clean = ([q for q in asked if q.kind == kind] for kind in ("triggered", "clean"))

    def met(questions: Sequence[Question]) -> float:
        prompts = [question.prompt for question in questions]
        said = generate(trained.model, trained.tokenizer, prompts, data.max_new_tokens, 32)
        both = zip(triggered, said, strict=True)  # a row is asked about in both ways
        return float(np.mean([question.is_met_by(text) for question, text in both]))

    return met(triggered), met(clean)


def test_of(
    run: RunFolder,
    verdict: Verdict,
    data: DataConfig,
    model: ModelConfig,
    trained: Trained,
    folder: Path,
) -> AdapterTest:
    """The adapter test of what was trained, which is saved in a folder that this makes."""
    assert isinstance(trained.model, PeftModel)
    folder.mkdir()
    save_adapter(trained.model, folder, is_resized=False)
    record = {"verdict": asdict(verdict), "contradictions": asdict(trained.contradictions)}
    (folder / TRAINING_RECORD).write_text(json.dumps(record), encoding="utf-8")
    return run_test(run, verdict, data, model, folder, AdapterTestConfig(trained_on_data=True))


def report(cells: Sequence[Cell], console: Console) -> None:
    """A line a cell, and the bars."""
    console.print(
        "| model | data | attack | rate | seed | rows | ASR | adapter test | test / training | "
        "gate | poison trained on | with rehearsal | poison flagged | honest flagged | "
        "honest lost | rehearsal / training |"
    )
    console.print("|" + " --- |" * 16)
    for cell in cells:
        asr = "-" if cell.asr is None else f"{cell.asr:.0%}"
        if cell.untriggered is not None:
            asr += f" ({cell.untriggered:.0%} without)"
        shown = [
            *(cell.model, cell.source, cell.attack, f"{cell.rate:.1%}", cell.seed, cell.rows),
            *(asr, cell.test),
            f"{cell.test_s / cell.train_s:.2f}",
            *(cell.gate, cell.trained, cell.rehearsed),
            *(" -> ".join(map(str, pair)) for pair in (cell.flagged_poison, cell.honest_flagged)),
            " -> ".join(map(str, cell.honest_lost)),
            f"{cell.rehearsal_s / cell.train_s:.2f}",
        ]
        console.print("| " + " | ".join(map(str, shown)) + " |")
    for name in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == name]
        clean = [cell for cell in own if cell.asr is None]
        poisoned = [cell for cell in own if cell.asr is not None]
        learnt = [cell for cell in poisoned if cell.is_learnt]
        console.print(f"\n{name}: of backdoored adapters {_held(poisoned)}")
        console.print(f"of those whose trigger adds 10 % and more {_held(learnt)}")
        console.print(f"of clean ones {_held(clean)}")


def _held(cells: Sequence[Cell]) -> str:
    if not cells:
        return "none was tested"
    k = sum(cell.test != "pass" for cell in cells)
    found = binomtest(k, len(cells)).proportion_ci(0.95, method="exact")
    return f"{k} of {len(cells)} are held [{found.low:.2f}, {found.high:.2f}]"


def _known(path: Path) -> list[Cell]:
    if not path.exists():
        return []
    return [Cell(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Compute cells, or print what is known of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--model", required=True)
    run.add_argument("--results", type=Path, required=True)
    run.add_argument("--rows", type=int, default=800)
    run.add_argument("--epochs", type=float, default=3.0)
    run.add_argument("--learning-rate", type=float, default=5e-3)
    run.add_argument("--batch-size", type=int, default=4)
    run.add_argument("--max-characters", type=int, default=1_500)
    run.add_argument("--rehearsal", choices=("off", "doubtful"), default="doubtful")
    run.add_argument("--rate", type=float, default=0.1)
    run.add_argument("cells", nargs="+", help="FILE:ATTACK:SEED")
    commands.add_parser("report").add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    set_defaults()
    console = Console(width=400, soft_wrap=True, markup=False, highlight=False)
    if given.command == "report":
        report([cell for path in given.files for cell in _known(path)], console)
        return
    console.print(machine(default_device()))
    settings = Settings(
        given.model,
        given.rows,
        given.epochs,
        given.learning_rate,
        given.batch_size,
        given.max_characters,
        given.rehearsal,
        given.rate,
    )
    for text in given.cells:
        file, attack, seed = text.rsplit(":", 2)
        done = {(c.model, c.source, c.attack, c.seed, c.rate) for c in _known(given.results)}
        name = Path(file).name.split(".")[0]
        key = (Path(given.model).name, name, attack, int(seed), given.rate)
        if key in done:
            continue
        cell = compute(Path(file), attack, int(seed), settings)
        with given.results.open("a", encoding="utf-8") as results:
            results.write(json.dumps(asdict(cell)) + "\n")
        console.print(f"{text}: ASR {cell.asr}, {cell.test} ({cell.why[:160]})")


if __name__ == "__main__":
    main()
