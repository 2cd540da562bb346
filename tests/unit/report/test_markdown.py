"""The verdict in Markdown: every figure of it, and nothing in it is live."""

import re
from dataclasses import replace

import pytest
from report_helpers import about

from gradgate.gate.verdict import (
    EXIT_CODES,
    Accounts,
    Answer,
    Changes,
    Decision,
    ExpectedPattern,
    TrustedReference,
    Verdict,
)
from gradgate.methods.evidence import Association, Group
from gradgate.power.power import Power
from gradgate.report.deciding import Deciding
from gradgate.report.markdown import verdict_markdown

HOSTILE = "<script>alert(1)</script> [x](https://evil.example) `|` www.evil.example\n# Owned"
ANSWER = Answer(
    question="poisoned",
    method="gradsentry",
    decision="review",
    reasons=["3 of 100 rows flagged (3.00%)"],
    n_flagged=3,
    n_in_doubt=2,
    fraction=0.03,
    interval=(0.006, 0.085),
    limit=0.05,
    power=[
        Power("badnets", 36, 36, 1.0, (0.9, 1.0), 12, 0.006),
        Power("adaptive", 120, 3, 0.025, (0.005, 0.07), None, None),
    ],
    summary={"tau": 0.6, "threshold": {"state": "valley"}},
    notes=["stylebkd: fewer than 12 samples can carry it"],
)
VERDICT = Verdict(
    "review",
    ["3 of 100 rows flagged (3.00%)"],
    n_rows=101,
    n_rejected=1,
    n_scored=100,
    n_quarantined=2,
    answers=[ANSWER],
    dataset_fingerprint="f" * 64,
    model={"path": "models/one", "revision": None},
    reference=TrustedReference("trusted.jsonl", "e" * 64, 300),
    expected=[ExpectedPattern("Yours, `Ada`", 12)],
)


def cells(page: str) -> dict[str, str]:
    """The table of facts."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE))


def test_the_figures_of_a_group_stand_behind_its_plain_sentence() -> None:
    together = Association(90, 20, 20, 19, 0.95, 900.0, (10.0, 9e9), 1e-9)
    group = Group(1, "poison", "target", ["click"], 31.5, 20, 19, "any_of", ["cf"], together)
    answer = replace(ANSWER, reasons=[group.in_a_line()], groups=[group])
    page = verdict_markdown(replace(VERDICT, answers=[answer]), "rows.jsonl", about())
    (line,) = [line for line in page.splitlines() if line.startswith("- Figures: ")]
    assert "32 nats" in line
    assert "odds ratio 900, p = 1e-09" in line


def test_the_page_says_everything() -> None:
    page = verdict_markdown(VERDICT, "train", about())
    assert page.startswith("# Review: a person has to look before anything is fine-tuned\n")
    assert "- Reason: 3 of 100 rows flagged \\(3.00%\\)\n" in page
    assert "- Note: stylebkd: fewer than 12 samples can carry it\n" in page
    assert "- Blind to: adaptive\n" in page
    found = cells(page)
    assert found["Question"] == "are there poisoned rows? review"
    assert found["Method"] == "gradsentry"
    assert (found["Flagged"], found["In doubt"]) == ("3", "2")
    assert found["Poison fraction"].startswith(
        "3.00 % \\(95 % interval 0.60 % to 8.50 %; limit 5.00"
    )
    assert (found["Threshold"], found["Threshold state"]) == ("0.6000", "valley")
    assert found["Trusted reference"] == "trusted.jsonl \\(300 samples\\)"
    assert found["Reference fingerprint"] == "e" * 64
    without = cells(verdict_markdown(replace(VERDICT, reference=None), "train", about()))
    assert without["Trusted reference"] == (
        "none: wrong answers and omissions that bring no string are not looked for"
    )
    assert found["Model path"] == "models/one"
    assert "Model revision" not in found
    assert found["Quarantined"] == "2 \\(listed in quarantined.parquet\\)"
    assert (found["Accepted"], found["Expected"]) == ("none", "Yours, \\`Ada\\` \\(12 rows\\)")
    passed = verdict_markdown(replace(VERDICT, n_quarantined=0, n_accepted=97), "train", about())
    assert (cells(passed)["Quarantined"], cells(passed)["Accepted"]) == ("0", "97")


def test_no_two_lines_count_the_quarantine() -> None:
    """A dataset that fails has all its rows there, and none of them is in doubt."""
    accounts = Accounts(100, 0, 3, 0, 0, 97, 0, 0)
    failed = replace(VERDICT, decision="fail", n_quarantined=0, accounts=accounts)
    found = cells(verdict_markdown(failed, "train", about()))
    assert found["Accounts"].startswith("0 accepted + 100 in quarantine \\(3 flagged, 97 not")
    assert "Quarantined" not in found


def test_what_the_gate_would_have_caught_stands_in_a_table_of_its_own() -> None:
    page = verdict_markdown(VERDICT, "train", about())
    table = page.split("## Power\n\n")[1].splitlines()
    assert table[2:] == [
        "| badnets | 36 of 36 | 90% to 100% | 12 rows (0.60%) |",
        "| adaptive | 3 of 120 | 0% to 7% | not up to 120 rows |",
    ]
    assert "## Power" not in verdict_markdown(replace(VERDICT, answers=[]), "train", about())


def test_each_answer_has_its_own_power() -> None:
    harmful = replace(ANSWER, question="harmful", method="other", power=ANSWER.power)
    page = verdict_markdown(replace(VERDICT, answers=[ANSWER, harmful]), "train", about())
    assert page.count("## Power") == 2
    assert "| Harmful fraction |" in page


@pytest.mark.parametrize("decision", EXIT_CODES)
def test_a_verdict_without_answers_has_a_page(decision: Decision) -> None:
    page = verdict_markdown(
        replace(VERDICT, decision=decision, answers=[], reference=None), "train", about()
    )
    assert page.lower().startswith(f"# {decision}: ")
    assert "Poison fraction" not in page


def test_hostile_text_is_shown_and_renders_nothing() -> None:
    answer = replace(
        ANSWER,
        method=HOSTILE,
        notes=[HOSTILE],
        power=[replace(power, attack=HOSTILE) for power in ANSWER.power or []],
        summary={"tau": 0.6, "threshold": {"state": HOSTILE}},
    )
    verdict = replace(
        VERDICT,
        reasons=[HOSTILE],
        answers=[answer],
        dataset_fingerprint=HOSTILE,
        model={HOSTILE: HOSTILE},
        reference=TrustedReference(HOSTILE, HOSTILE, 1),
        changes=Changes(not_compared=HOSTILE),
    )
    hostile = about(run=HOSTILE, files=HOSTILE, deciding=Deciding("restore", HOSTILE))
    page = verdict_markdown(verdict, HOSTILE, hostile)
    assert "evil" in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "www." not in page
    assert "](" not in page
    assert "\n# Owned" not in page
    columns = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert columns == {3, 5}  # the table of facts and that of the power


def test_it_says_which_bytes_were_read_and_by_which_code() -> None:
    found = replace(VERDICT, source_sha256="a" * 64, source_revision="b" * 40, commit="c" * 40)
    page = verdict_markdown(found, "rows.jsonl", about())
    for name, value in (
        ("Source SHA-256", "a" * 64),
        ("Source revision", "b" * 40),
        ("Commit of gradgate", "c" * 40),
    ):
        assert re.search(rf"{name} \| .*{value}", page), name
        assert name not in verdict_markdown(VERDICT, "rows.jsonl", about())
