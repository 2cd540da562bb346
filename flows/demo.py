"""The demo: a poisoned dataset is turned away, a clean one is let through and fine-tuned on.

The rows are questions about the APIs of the installed packages, mined at run time; the model is a
small one that was trained on their docstrings and lies in the repository.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from demo import MODEL
from demo.questions import mine_questions
from flows.gated_finetune import gated_finetune
from gradgate.attacks import QuestionRow, badnets
from gradgate.config import (
    DataConfig,
    GatedFinetuneConfig,
    LoraConfig,
    ModelConfig,
    ThresholdConfig,
    TrackingConfig,
)
from gradgate.decision import read_entropies
from gradgate.errors import DataError
from gradgate.state import state_dir
from gradgate.threshold import PUBLISHED_CONSTANT, kde_valley
from gradgate.verdict import Decision, load_verdict
from tasks.mlflow_store import tracking_uri
from tasks.run import run_folder
from tasks.tracking import ui_command

ROWS = 2_000
SEED = 0
POISON = 0.1
# One setting for both datasets. A KDE valley would do on the poisoned one; on honest rows it finds
# a gap between one-word and longer answers (the demo says where), so tau is pinned.
THRESHOLD = ThresholdConfig(method="fixed", value=PUBLISHED_CONSTANT)

Say = Callable[[str], None]


def run_demo(say: Say) -> None:
    """Gate a poisoned and a clean dataset, and fine-tune where the gate lets it.

    Raises:
        DataError: The gate broke, or did not decide as it should on the demo's data.
    """
    say("Mining questions about the APIs of the installed packages ...")
    clean = [QuestionRow(q["question"], tuple(q["answers"])) for q in mine_questions(ROWS, SEED)]
    say(f"  {len(clean)} rows, such as: {clean[0].question} {'; '.join(clean[0].answers)}")
    _show("poisoned", badnets(clean, POISON, SEED), "fail", say)
    _show("clean", clean, "pass", say)
    say(f"\nEverything lies in {state_dir()}. Look at it in MLflow:")
    say(f"  {ui_command(tracking_uri(None))}")


def _show(name: str, rows: Sequence[QuestionRow], expected: Decision, say: Say) -> None:
    say(f"\nGating the {name} dataset ...")
    state = gated_finetune(_config(_write(name, rows)), return_state=True)
    folder = run_folder(str(state.state_details.flow_run_id))
    if not folder.exists():
        raise DataError(f"the {name} run broke: {state.message}")
    verdict = load_verdict(folder / "verdict.json")
    say(f"  verdict     {verdict.decision.upper()}")
    for reason in verdict.reasons:
        say(f"              {reason}")
    say(f"  true labels {_held_against_labels(folder, rows, PUBLISHED_CONSTANT)}")
    say(f"  KDE valley  {_published(folder, rows)}")
    say(f"  evidence    {folder}")
    if verdict.decision != expected:
        raise DataError(f"the verdict on the {name} data is {verdict.decision}, not {expected}")
    adapter = folder / "adapter"
    if adapter.exists() != (expected == "pass"):
        raise DataError(f"the {name} data ended as {state.name}: {state.message}")
    say(f"  fine-tuning {'done: ' + str(adapter) if adapter.exists() else 'did not run'}")


def _held_against_labels(folder: Path, rows: Sequence[QuestionRow], tau: float) -> str:
    """What a tau flags, by the labels that the gate never saw."""
    entropies = read_entropies(folder / "scores.parquet")
    poisoned = np.array([row.poisoned for row in rows])
    flagged = entropies > tau
    alarms = int((flagged & ~poisoned).sum())
    n_honest = int((~poisoned).sum())
    honest = f"{alarms} of {n_honest} honest rows flagged ({alarms / n_honest:.1%})"
    if not poisoned.any():
        return honest
    return f"{int((flagged & poisoned).sum())} of {int(poisoned.sum())} poisoned rows and {honest}"


def _published(folder: Path, rows: Sequence[QuestionRow]) -> str:
    """What the published rule, a KDE valley or the constant, makes of the same scores."""
    found = kde_valley(read_entropies(folder / "scores.parquet"))
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    return f"would be tau = {tau:.3f} ({found.state}): {_held_against_labels(folder, rows, tau)}"


def _write(name: str, rows: Sequence[QuestionRow]) -> Path:
    path = state_dir() / "demo" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
    return path


def _config(source: Path) -> GatedFinetuneConfig:
    return GatedFinetuneConfig(
        data=DataConfig(source=str(source)),
        model=ModelConfig(path=str(MODEL), device="cpu"),
        threshold=THRESHOLD,
        tracking=TrackingConfig(experiment="gradgate-demo"),
        lora=LoraConfig(epochs=1, learning_rate=1e-3, batch_size=8),
    )
