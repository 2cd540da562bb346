"""Rows whose prompt the model refuses and whose reply complies, through the gate's own steps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Verdict
from gradgate.methods.gradshield.refused import Reply, ask_refusals, prefix_free
from gradgate.safety.probes import ProbeSet
from helpers import MODEL

PROBES = ProbeSet.read(None)
ANSWER = "Sure, here is how you can do that. Take your time and go on step by step."
REFUSAL = PROBES.refusal_openings[0]
N = 8  # rows of a kind


def turns(*texts: str) -> dict[str, object]:
    """A conversation whose turns take turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]}


def rows() -> list[dict[str, object]]:
    """Answered and refused harmful prompts, and answered benign ones: N of each."""
    harmful, benign = PROBES.harmful, PROBES.benign
    return [
        *(turns(prompt, ANSWER) for prompt in harmful[:N]),
        *(turns(prompt, REFUSAL) for prompt in harmful[N : 2 * N]),
        *(turns(prompt, ANSWER) for prompt in benign[: 2 * N]),
    ]


def judged(
    folder: Path, model: Path, data: list[dict[str, object]], **settings: Any
) -> tuple[Verdict, dict[str, list[Any]]]:
    source, run = folder / "rows.jsonl", RunFolder(folder / "run")
    source.write_text("".join(json.dumps(row) + "\n" for row in data))
    config = GateConfig.model_validate(
        {
            "data": {"source": str(source), "max_rejected_fraction": 0.0},
            "model": {"path": str(model), "device": "cpu", "dtype": "float32"},
            "detection": {"methods": ["compliance"], "compliance": settings},
            "policy": {"max_copies": None},
        }
    )
    verdict = run_gate(config, run)
    table = pq.read_table(run.flags) if run.flags.exists() else None
    return verdict, {} if table is None else table.to_pydict()


def plain(data: list[dict[str, object]]) -> list[dict[str, object]]:
    """The same rows for a model without a chat template, worded as instructions."""
    found = []
    for row in data:
        messages: Any = row["messages"]
        found.append({"instruction": messages[0]["content"], "output": messages[1]["content"]})
    return found


def test_answers_to_refused_prompts_are_harmful_and_refusals_are_not(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    verdict, table = judged(tmp_path, refusing_model, plain(rows()))
    flagged = np.array(table["flagged"])
    assert flagged[:N].mean() >= 0.75
    assert not flagged[N:].any()
    assert verdict.decision == "fail"
    (answer,) = verdict.answers
    assert answer.question == "harmful"
    assert answer.groups[0].n_rows == flagged.sum()
    assert "answer prompts that the untuned model refuses" in answer.groups[0].in_a_line()
    assert answer.summary["canaries_flagged"] >= 0.5  # type: ignore[operator]
    refused = np.array(table["p_refused"])
    assert (refused[:N] > 0.5).mean() >= 0.75
    assert (refused[2 * N :] < 0.5).all()
    assert "refuses the prompt" in table["reasons"][int(np.argmax(flagged))][0]


def test_nothing_is_said_of_a_model_that_refuses_nothing(tmp_path: Path, state: Path) -> None:
    verdict, table = judged(tmp_path, MODEL, plain(rows()))
    assert verdict.decision == "error"
    assert "this model is not aligned" in verdict.reasons[0]
    assert verdict.n_accepted is None
    assert table["flagged"] == [None] * 4 * N


def test_a_refusal_that_goes_on_to_comply_is_not_accepted(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    both = [turns(prompt, f"{REFUSAL} {ANSWER}") for prompt in PROBES.harmful[:N]]
    _, table = judged(tmp_path, refusing_model, plain([*both, *rows()[2 * N :]]))
    kept_out = np.array(table["flagged"]) | np.array(table["in_doubt"])
    assert kept_out[:N].mean() >= 0.75
    assert not kept_out[N:].any()


def test_where_the_canaries_are_missed_the_answer_is_a_review(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    verdict, table = judged(tmp_path, refusing_model, plain(rows()), flag_above=1.0)
    assert verdict.decision == "review"
    assert "harmful and honest exchanges overlap with this model" in verdict.reasons[0]
    assert table["flagged"] == [None] * 4 * N
    assert np.array(table["in_doubt"])[:N].mean() >= 0.75


def test_openings_are_counted_once() -> None:
    assert prefix_free([[1, 2, 3, 4], [1, 2, 3], [5], [5, 6], [7, 8]]) == [[1, 2, 3], [5], [7, 8]]


def test_a_prompt_that_cannot_be_asked_about_is_unknown() -> None:
    replies = [Reply(0, 0, np.array([1, 2]), 0.0), Reply(1, 0, np.array([3]), 0.25)]

    def ask(sequences: Any) -> list[np.ndarray]:
        return [np.full(len(ids), np.nan if ids[0] == 1 else np.log(0.5)) for ids in sequences]

    found = ask_refusals(replies, [[4], [5, 6]], ask)
    assert np.isnan(found.refused[0])
    assert np.isnan(found.complied[0])
    assert found.refused[1] == pytest.approx(0.75)
    assert found.complied[1] == pytest.approx(0.75 * 0.75)
