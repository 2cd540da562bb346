"""Rows whose prompt the model refuses and whose reply complies, through the gate's own steps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harm_helpers import ANSWER, PROBES, REFUSAL, N, judged, row, rows

from gradgate.common.arrays import Floats
from gradgate.gate.verdict import Verdict
from gradgate.methods.gradshield.refused import Reply, ask_refusals, prefix_free
from helpers import MODEL

BOTH = slice(4 * N, 5 * N)  # a refusal that goes on to comply


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One score store for all runs of this file."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADGATE_STATE_DIR", str(folder))
        yield folder


def all_rows() -> list[dict[str, str]]:
    return [*rows(), *(row(prompt, f"{REFUSAL} {ANSWER}") for prompt in PROBES.harmful[:N])]


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, refusing_model: Path, state: Path
) -> tuple[Verdict, dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("found")
    return judged(folder, refusing_model, all_rows(), {"methods": ["recurrence", "compliance"]})


def test_answers_to_refused_prompts_are_harmful_and_refusals_are_not(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    verdict, table = found
    flagged = np.array(table["harmful_flagged"])
    assert flagged[:N].mean() >= 0.75
    assert not flagged[N : 4 * N].any()
    answer = verdict.answer("harmful")
    assert answer is not None
    assert answer.decision == verdict.decision == "fail"
    assert answer.groups[0].n_rows == flagged.sum()
    assert "answer prompts that the untuned model refuses" in answer.groups[0].in_a_line()
    canaries = answer.summary["canaries_flagged"]
    assert isinstance(canaries, float)
    assert canaries >= 0.5
    assert "refuses the prompt" in table["harmful_reasons"][int(np.argmax(flagged))][0]


def test_the_table_says_how_likely_a_refusal_is(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    refused = np.array(found[1]["p_refused"])
    assert (refused[: 2 * N] > 0.5).mean() >= 0.75
    assert (refused[2 * N : 4 * N] < 0.5).all()


def test_a_refusal_that_goes_on_to_comply_is_not_accepted(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    kept_out = np.array(found[1]["harmful_flagged"]) | np.array(found[1]["harmful_in_doubt"])
    assert kept_out[BOTH].mean() >= 0.75


def test_where_the_canaries_are_missed_the_answer_is_a_review(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    detection = {"methods": ["compliance"], "compliance": {"flag_above": 1.0}}
    verdict, table = judged(tmp_path, refusing_model, all_rows(), detection)
    assert verdict.decision == "review"
    assert "harmful and honest exchanges overlap with this model" in verdict.reasons[0]
    assert set(table["flagged"]) == {None}
    assert np.array(table["in_doubt"])[:N].mean() >= 0.75


def test_nothing_is_said_of_a_model_that_refuses_nothing(tmp_path: Path, state: Path) -> None:
    verdict, table = judged(tmp_path, MODEL, rows(), {"methods": ["compliance"]})
    assert verdict.decision == "error"
    assert "this model is not aligned" in verdict.reasons[0]
    assert verdict.n_accepted is None
    assert set(table["flagged"]) == {None}


def test_openings_are_counted_once() -> None:
    assert prefix_free([[1, 2, 3, 4], [1, 2, 3], [5], [5, 6], [7, 8]]) == [[1, 2, 3], [5], [7, 8]]


def test_a_prompt_that_cannot_be_asked_about_is_unknown() -> None:
    replies = [Reply(0, 0, np.array([1, 2]), 0.0), Reply(1, 0, np.array([3]), 0.25)]

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.full(len(ids), np.nan if ids[0] == 1 else np.log(0.5)) for ids in sequences]

    found = ask_refusals(replies, [[4], [5, 6]], ask)
    assert np.isnan(found.refused[0])
    assert np.isnan(found.complied[0])
    assert found.refused[1] == pytest.approx(0.75)
    assert found.complied[1] == pytest.approx(0.75 * 0.75)
