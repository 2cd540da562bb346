"""The demo: what a poisoned dataset does to a model without and with the gate, and a clean one.

The rows are questions about the APIs of the installed packages, mined at run time; the model is a
small one that was trained on their docstrings and lies in the repository.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from demo import MODEL
from demo.questions import mine_questions
from flows.drill import drill
from flows.gated_finetune import gated_finetune
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.config import DataConfig, FinetuneConfig, ModelConfig, TrackingConfig
from gradgate.drill.config import DrillConfig, DrillSection
from gradgate.drill.data import POISONED, ROLE
from gradgate.errors import DataError
from gradgate.gate.verdict import Decision, load_verdict
from gradgate.methods.gradsentry.threshold import PUBLISHED_CONSTANT, kde_valley
from gradgate.train.config import GatedFinetuneConfig
from tasks.drill import drill_folder
from tasks.links import ui_command
from tasks.mlflow_store import tracking_uri
from tasks.run import run_folder

ROWS = 1_200  # 400 of them are held back to test the models
SEED = 0
# Enough for the small model to learn the backdoor in half a minute. In float32 wherever it runs, so
# that the figures hardly depend on the machine.
TUNING = FinetuneConfig(r=16, alpha=32, epochs=3, learning_rate=5e-3, batch_size=4)
MODEL_CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")

Say = Callable[[str], None]


def run_demo(say: Say) -> None:
    """Fine-tune on a poisoned dataset without and with the gate, then on a clean one that passes.

    Raises:
        DataError: A flow broke, or did not end as it should on the demo's data.
    """
    say("Mining questions about the APIs of the installed packages ...")
    mined = mine_questions(ROWS, SEED)
    say(f"  {len(mined)} rows, such as: {mined[0]['question']} {'; '.join(mined[0]['answers'])}")
    source = state_dir() / "demo" / "clean.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("".join(json.dumps(row) + "\n" for row in mined), encoding="utf-8")
    headline = _show_poisoned(source, say)
    _show_clean(source, len(mined), say)
    say(f"\nSo: {headline}.")
    say(f"\nEverything lies in {state_dir()}. Look at it in MLflow:")
    say(f"  {ui_command(tracking_uri(None))}")


def _show_poisoned(source: Path, say: Say) -> str:
    """Run a drill, and return its headline."""
    say("\nPoisoning 10 % of the rows, and fine-tuning on them without and with the gate ...")
    state = drill(_drill_config(source), return_state=True)
    flow_run = str(state.state_details.flow_run_id)
    folder = drill_folder(flow_run)
    if not state.is_completed():
        raise DataError(f"the drill broke: {state.message}")
    _show_verdict("poisoned", run_folder(flow_run), _labels(folder / POISONED), "fail", say)
    found = json.loads((folder / "drill.json").read_text(encoding="utf-8"))
    for name in ("ungated", "gated"):
        say(f"  {name:12}{_rates(found, name)}")
    if found["asr"]["ungated"]["value"] < 0.5 or found["asr"]["gated"]["value"] > 0.01:
        raise DataError(f"the drill did not end as it should: {state.message}")
    say(f"  report      {folder / 'drill.md'}")
    return str(state.message)


def _rates(found: dict[str, Any], name: str) -> str:
    asr, cacc = found["asr"][name], found["cacc"][name]
    return (
        f"{asr['k']} of {asr['n']} attacks succeed ({asr['value']:.1%}), "
        f"{cacc['value']:.1%} of the clean questions are answered right"
    )


def _show_clean(source: Path, n_rows: int, say: Say) -> None:
    say("\nGating the clean dataset, fine-tuning on it, and testing the adapter ...")
    state = gated_finetune(_clean_config(source), return_state=True)
    folder = run_folder(str(state.state_details.flow_run_id))
    if not folder.exists():
        raise DataError(f"the clean run broke: {state.message}")
    _show_verdict("clean", folder, np.zeros(n_rows, dtype=np.bool_), "pass", say)
    if not (folder / "adapter").exists():
        raise DataError(f"the clean data ended as {state.name}: {state.message}")
    say(f"  test        {state.message}")
    say(f"  adapter     {folder / 'adapter'}")


def _show_verdict(name: str, folder: Path, poisoned: Marks, expected: Decision, say: Say) -> None:
    run = RunFolder(folder)
    verdict = load_verdict(run.verdict)
    say(f"  verdict     {verdict.decision.upper()}")
    for reason in verdict.reasons:
        say(f"              {reason}")
    flags = pq.read_table(run.flags, columns=["flagged", "spectral_entropy"])
    flagged = np.array([flag is True for flag in flags["flagged"].to_pylist()])
    say(f"  true labels {_held_against_labels(flagged, poisoned)}")
    entropies = flags["spectral_entropy"].to_numpy()
    found = kde_valley(entropies)
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    say(f"  entropy     alone (tau {tau:.3f}): {_held_against_labels(entropies > tau, poisoned)}")
    if verdict.n_quarantined:
        say(f"  quarantined {verdict.n_quarantined} rows, which are not trained on either")
    answer = verdict.answer("poisoned")
    if answer is not None and answer.blind_to:
        say(f"  blind to    {', '.join(answer.blind_to)}")
    say(f"  report      {run.report}")
    if verdict.decision != expected:
        raise DataError(f"the verdict on the {name} data is {verdict.decision}, not {expected}")


def _held_against_labels(flagged: Marks, poisoned: Marks) -> str:
    """What is flagged, by the labels that the gate never saw."""
    alarms, n_honest = int((flagged & ~poisoned).sum()), int((~poisoned).sum())
    honest = f"{alarms} of {n_honest} honest rows flagged ({alarms / n_honest:.1%})"
    if not poisoned.any():
        return honest
    return f"{int((flagged & poisoned).sum())} of {int(poisoned.sum())} poisoned rows and {honest}"


def _labels(poisoned: Path) -> Marks:
    lines = poisoned.read_text(encoding="utf-8").splitlines()
    return np.array([json.loads(line)[ROLE] == "poisoned" for line in lines])


def _drill_config(source: Path) -> DrillConfig:
    return DrillConfig(
        data=DataConfig(source=str(source)),
        model=MODEL_CONFIG,
        tracking=TrackingConfig(experiment="gradgate-demo"),
        finetune=TUNING,
        drill=DrillSection(attack="addsent", seed=SEED, reference=False),
    )


def _clean_config(source: Path) -> GatedFinetuneConfig:
    return GatedFinetuneConfig(
        data=DataConfig(source=str(source)),
        model=MODEL_CONFIG,
        tracking=TrackingConfig(experiment="gradgate-demo"),
        finetune=TUNING.model_copy(update={"epochs": 1.0}),
    )
