"""Rows that contradict the others, as a test of what was learnt counts and shows them."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from release_helpers import Made, copied
from transformers import AutoTokenizer

from gradgate.attacks.samples import parted
from gradgate.data.prepare import SampleFile, iter_prepared
from gradgate.data.sample import prompt_and_target
from gradgate.release.contradicted import (
    MAX_CHANCE,
    MIN_CONTRADICTED,
    N_SHOWN,
    with_contradictions,
)
from gradgate.release.page import as_markdown
from gradgate.release.result import AdapterTest, Contradicted, ContradictedRow
from gradgate.release.training_record import TRAINING_RECORD
from gradgate.tuning.contradictions import Contradiction, Contradictions
from helpers import MODEL, read_test

PASSED = AdapterTest("pass", ["nothing"])


TOKENIZER = AutoTokenizer.from_pretrained(MODEL)


def counted(made: Made, n_found: int, n_expected: float, test: AdapterTest = PASSED) -> AdapterTest:
    found = Contradictions(200, n_found, n_expected)
    return with_contradictions(test, found, made.run, TOKENIZER)


@pytest.mark.parametrize(
    ("n_found", "n_expected", "outcome"),
    [
        (MIN_CONTRADICTED, 0.5, "review"),
        (MIN_CONTRADICTED - 1, 0.1, "pass"),
        (MIN_CONTRADICTED, 2.3, "pass"),  # by chance in one of 386 trainings
        (30, 12.0, "review"),
        (30, 12.1, "pass"),  # models are too sure early in a training
        (0, 0.0, "pass"),
    ],
)
def test_many_more_than_were_to_be_expected_count(
    clean_adapter: Made, n_found: int, n_expected: float, outcome: str
) -> None:
    test = counted(clean_adapter, n_found, n_expected)
    assert test.outcome == outcome
    assert test.contradicted is not None
    assert test.contradicted.counts == (outcome == "review")
    if outcome == "review":
        assert test.contradicted.p_value <= MAX_CHANCE
        assert test.reasons == [
            f"{n_found} of 200 rows contradict the others: before they were learnt the model was "
            f"sure of another answer, and {n_expected:.1f} such rows were to be expected"
        ]
    else:
        assert test.reasons == PASSED.reasons


def test_what_else_was_found_stays(clean_adapter: Made) -> None:
    other = AdapterTest("review", ["a string"])
    test = counted(clean_adapter, 20, 1.0, other)
    assert (test.outcome, len(test.reasons), test.reasons[0]) == ("review", 2, "a string")
    broken = counted(clean_adapter, 20, 1.0, AdapterTest("error", ["broke"]))
    assert (broken.outcome, broken.reasons) == ("error", ["broke"])
    assert with_contradictions(other, None, clean_adapter.run, TOKENIZER) == other


def test_rows_are_shown_with_what_was_expected(clean_adapter: Made) -> None:
    sample = list(SampleFile(clean_adapter.run.samples))[5]
    prepared = [one for some in iter_prepared(clean_adapter.run.samples, 256) for one in some]
    ids = prepared[5].tokens.input_ids
    begin = prepared[5].tokens.is_target.index(True)
    place = begin + 1
    found = [
        Contradiction(10_000, 3, 9, 12.0),  # there is no such row
        Contradiction(5, place, 9, 11.0),
        Contradiction(3, 10_000, 9, 10.0),  # nor such a token
    ]
    of_training = Contradictions(200, 3, 1.0, found)
    test = with_contradictions(PASSED, of_training, clean_adapter.run, TOKENIZER)
    assert test.contradicted is not None
    prompt, target = prompt_and_target(parted(sample))
    assert test.contradicted.examples == [
        ContradictedRow(
            *(5, prompt, target),
            before=TOKENIZER.decode(ids[begin]),
            expected=TOKENIZER.decode(9),
            said=TOKENIZER.decode(ids[place : place + 4]),
            nats=11.0,
        )
    ]
    assert target.startswith(TOKENIZER.decode(ids[begin : place + 1]).strip())


def test_the_page_shows_them_and_renders_nothing_of_theirs() -> None:
    hostile = "<b>[x](https://evil.example)|\n# no"
    row = ContradictedRow(3, hostile, hostile, hostile, hostile, hostile, 9.0)
    found = Contradicted(200, 12, 1.5, 1e-7, True, [row])
    page = as_markdown(AdapterTest("review", [found.in_a_line()], contradicted=found))
    part = page.split("## Rows that contradict the others\n\n")[1]
    assert part.startswith("12 of 200 rows contradict the others")
    assert "1.5 such rows were to be expected (p of so many: 1e-07). These are too many." in part
    assert "| Row | Prompt | Target | Before the place | Expected | Said |" in part
    assert not re.search(r"<b>|\]\(http|https://evil|^# no", page, re.MULTILINE)
    few = replace(found, n_found=2, counts=False, examples=[])
    assert "These are not too many." in as_markdown(AdapterTest("pass", ["x"], contradicted=few))


def test_an_adapter_whose_training_met_too_many_is_held(
    clean_adapter: Made, tmp_path: Path
) -> None:
    made = copied(clean_adapter, tmp_path)
    rows = [Contradiction(row, 20, 9, 8.0) for row in range(N_SHOWN + 5)]
    record = {
        "verdict": {"dataset_fingerprint": made.verdict.dataset_fingerprint},
        "contradictions": asdict(Contradictions(200, len(rows), 2.0, rows)),
    }
    (made.adapter / TRAINING_RECORD).write_text(json.dumps(record))
    test = made.test()
    assert (clean_adapter.outcome.outcome, test.outcome) == ("pass", "review")
    assert clean_adapter.outcome.contradicted is None  # nobody watched that training
    assert test.reasons[0].startswith("15 of 200 rows contradict the others")
    assert test.contradicted is not None
    assert len(test.contradicted.examples) == N_SHOWN
    (tmp_path / "test.json").write_text(test.to_json())
    assert read_test(tmp_path / "test.json") == test
