"""What a page opens with, what it asks for, and the commands: exact, quoted, and none too many."""

import html
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from report_helpers import Page, about, answer, check_is_inert, content, pile, verdict

from gradgate.config import ApprovalsConfig, PolicyConfig
from gradgate.gate.verdict import Accounts, Changes, Decision, Verdict
from gradgate.report.about import asked, choices_of_all, opening, policy_text
from gradgate.report.deciding import Deciding
from gradgate.report.markdown import short_markdown, verdict_markdown
from gradgate.report.page import render

REVIEW = replace(verdict([answer(decision="review", summary={})]), decision="review")


def commands(decision: Decision, **changes: object) -> list[str]:
    """The commands of a run, without their line breaks."""
    found = choices_of_all(replace(REVIEW, decision=decision), about(**changes))
    return [choice.command.replace("\\\n    ", "") for choice in found]


def test_it_opens_with_date_run_policy_and_changes() -> None:
    assert opening(REVIEW, about(last="pass")) == [
        ("Decided", "2026-11-26 23:12 UTC"),
        ("Run", "the-run"),
        ("Files", "/state/runs/the-run on a-host"),
        (
            "Policy",
            "poisoned: fail above 5.00 % flagged, review above 2.00 % flagged or in doubt; flagged "
            "rows are left out; rows in doubt are left out; at most 3 copies of a text",
        ),
        (
            "Changes",
            "since run a-run (pass): 3 new, 1 of them flagged or in doubt; 2 gone; "
            "of the others 1 newly so, 0 cleared",
        ),
    ]
    same = replace(REVIEW, changes=Changes("a-run", None, 0, 0, 0, 0, 0))
    assert opening(same, about(last="pass"))[-1] == ("Changes", "none since run a-run (pass)")


def test_the_policy_is_told_for_every_question_that_was_asked() -> None:
    both = replace(REVIEW, answers=[answer(), answer(question="harmful")])
    strict = PolicyConfig(
        harmful_review_above=0.01, flagged="block", in_doubt="block", max_copies=None
    )
    assert policy_text(strict, both) == (
        "poisoned: fail above 5.00 % flagged, review above 2.00 % flagged or in doubt; harmful: "
        "fail above 5.00 % flagged, review above 1.00 % flagged or in doubt; any flagged row "
        "fails; any row in doubt needs a review; any number of copies of a text"
    )


def test_each_decision_asks_for_something_else_in_one_to_three_sentences() -> None:
    clear = answer(n_flagged=0, n_in_doubt=0)
    cases = [
        *(replace(REVIEW, decision=decision) for decision in ("pass", "review", "fail", "error")),
        Verdict("fail", ["rows are rejected"]),
        replace(REVIEW, answers=[clear]),
    ]
    said = [asked(found, about(in_doubt=[pile()])) for found in cases]
    assert len(set(said)) == len(cases)
    for text in said:
        assert text.count(". ") <= 2
        assert text.endswith(".")
    assert said[0].startswith("Nothing is asked of you")
    assert "gradgate approve" in said[2]
    assert "gradgate" not in asked(cases[2], about())  # there is nothing to type


def test_a_group_is_kept_or_dropped_by_its_name() -> None:
    assert commands("review", in_doubt=[pile()]) == [
        'gradgate approve the-run --group poisoned:2 --keep --by NAME --reason "..."',
        'gradgate approve the-run --group poisoned:2 --drop --by NAME --reason "..."',
    ]


def test_several_groups_are_dropped_together_and_kept_one_by_one() -> None:
    keep, drop = commands("fail", flagged=[pile(1, "flagged")], in_doubt=[pile(), pile(None)])
    assert "--group poisoned:1 --keep" in keep
    assert keep.count("--group") == 1
    assert "--group poisoned:1 --group poisoned:2 --drop" in drop
    assert "--rows" not in drop


def test_rows_without_a_group_are_chosen_by_number_and_only_those_shown_when_too_many() -> None:
    whole, cut = pile(None), pile(None, rows=None)
    assert (whole.is_whole, cut.is_whole) == (True, False)
    assert commands("review", in_doubt=[whole])[0].startswith(
        "gradgate approve the-run --rows 3,17-20 --keep"
    )
    assert "--rows 31 --keep" in commands("review", in_doubt=[cut])[0]


@pytest.mark.parametrize("decision", ["pass", "error"])
def test_nothing_is_decided_behind_a_pass_or_an_error(decision: Decision) -> None:
    assert commands(decision, in_doubt=[pile()], flagged=[pile(1)]) == []


@pytest.mark.parametrize(
    "target", ["a b", "$(touch x)", "`id`", "it's; rm -rf ~", "```\\", "--help", "ein Ordner/ä"]
)
def test_the_target_is_one_word_of_the_shell_whatever_it_is_called(target: str) -> None:
    for command in commands("review", deciding=Deciding("approve", target), in_doubt=[pile()]):
        assert shlex.split(command)[:3] == ["gradgate", "approve", target]


@pytest.mark.parametrize("target", ["a\nb", "a\r", "\u202ea", "a\x1b[2J", "a" * 301])
def test_a_target_that_nobody_types_is_left_to_the_reader(target: str) -> None:
    for command in commands("review", deciding=Deciding("approve", target), in_doubt=[pile()]):
        assert command.startswith("gradgate approve PATH --group")


def test_who_may_decide_is_said_beside_the_commands() -> None:
    def said(**settings: Any) -> str:
        deciding = Deciding("approve", "the-run", approvals=ApprovalsConfig(**settings))
        found = about(deciding=deciding, in_doubt=[pile()])
        return verdict_markdown(REVIEW, "train", found)

    assert "These may decide: Ada, \\*Bob\\*; 2 of them have to agree." in said(
        who=["Ada", "*Bob*"], needed=2
    )
    assert "These may decide: Ada." in said(who=["Ada"])
    assert "Nobody may decide yet: name people in approvals.who of the configuration" in said()


def test_where_there_is_no_run_the_rows_are_restored() -> None:
    deciding = Deciding("restore", "/x/flags.rows", ".parquet")
    assert commands("review", deciding=deciding, in_doubt=[pile()]) == [
        "gradgate restore /x/flags.rows --group poisoned:2 --kept-out-for verdict "
        '--reason "..." --output reviewed.parquet',
        "gradgate restore /x/flags.rows --kept-out-for verdict "
        '--reason "..." --output reviewed.parquet',
    ]


def test_the_markdown_page_has_all_of_it_before_the_reasons() -> None:
    told = about(in_doubt=[pile()], when=datetime(2027, 1, 2, 3, 4, tzinfo=UTC))
    page = verdict_markdown(REVIEW, "train", told)
    parts = [
        "- Decided: 2027-01-02 03:04 UTC\n", "- Run: the-run\n", "- Policy: poisoned: fail above",
        "- Changes: since run a-run", "**What is asked of you.** Read the rows in doubt",
        "```sh\ngradgate approve the-run \\\n    --group poisoned:2 --keep",
        "```sh\ngradgate approve the-run \\\n    --group poisoned:2 --drop", "- Reason: 100 of",
    ]  # fmt: skip
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


def test_a_description_is_short_and_has_no_heading() -> None:
    many = replace(REVIEW, reasons=["<b># one</b>", "x" * 5_000, "[a](http://b)", "four", "five"])
    text = short_markdown(many, about(), "#/experiments/1/runs/a/artifacts/report.html")
    assert len(text) < 1_000
    assert not [line for line in text.splitlines() if line.startswith("#")]
    first, _, todo, *_ = text.splitlines()
    assert first == (
        "**Review**: a person has to look before anything is fine-tuned. "
        "[Open the report](#/experiments/1/runs/a/artifacts/report.html)"
    )
    assert todo.startswith("Read the rows in doubt")
    assert text.rstrip().endswith("- and 2 more reasons")
    assert "<b>" not in text
    assert "](http" not in text
    assert "Open" not in short_markdown(many, about(), None)


def test_the_report_shows_the_opening_the_commands_and_the_rows_in_doubt() -> None:
    shown = about(in_doubt=[pile(), pile(None, "copy", question=None, n=1)])
    page = render(content(verdict=REVIEW, about=shown))
    check_is_inert(page)
    body = html.unescape(re.sub("<[^>]*>", " ", page.split("<body>")[1]))
    text = " ".join(body.split())  # in the order of the page
    parts = [
        "2026-11-26 23:12 UTC", "the-run", "fail above 5.00 %", "since run a-run",
        "What is asked of you", "--group poisoned:2 --keep", "--group poisoned:2 --drop", "Why",
        "Rows in doubt", "Group 2 9 rows that may be poisoned, 1 of them new since the last run",
        "who saw 3D watch it", "and 8 more rows, in quarantined.parquet (column group: 2)",
        "Copies of a text beyond the limit", "it recurs", "--rows 3,17-20 --keep",
    ]  # fmt: skip
    at = 0
    for part in parts:
        assert part in text[at:], part
        at = text.index(part, at)


def test_rows_that_are_rejected_are_shown_with_their_reason() -> None:
    raw = Verdict("fail", ["too many rows are rejected"], n_rows=9, n_rejected=7)
    rejected = [(4, "empty prompt", '{"prompt": "", "completion": "<b>http://evil.example</b>"}')]
    page = render(content(verdict=raw, rejected=rejected, top_flagged=[]))
    check_is_inert(page)
    for said in ("Row 4", "empty prompt", "and 6 more rejected rows, in rejected.parquet"):
        assert said in Page(page).text(), said


def test_where_there_is_no_run_its_tables_are_not_named() -> None:
    """`gradgate detect` leaves the rows by their states, and no quarantined.parquet."""
    shown = about(
        deciding=Deciding("restore", "/x/flags.rows"),
        in_doubt=[pile(), pile(None, "copy", question=None, n=3)],
    )
    rejected = [(4, "empty prompt", "{}")]
    verdict = replace(REVIEW, n_rejected=7, accounts=Accounts(107, 0, 0, 12, 0, 88, 7, 0))
    text = Page(render(content(verdict=verdict, about=shown, rejected=rejected))).text()
    for said in (
        "and 8 more rows, in flags.rows/quarantine.jsonl (groups: poisoned:2)",
        "and 2 more rows, in flags.rows/quarantine.jsonl (why: copy)",
        "more flagged samples, in flags.rows/quarantine.jsonl",
        "and 6 more rejected rows, in flags.rows/rejected.jsonl",
        "107 rows (listed in flags.rows/quarantine.jsonl)",
    ):
        assert said in text, said
    assert not re.search("(quarantined|flagged|rejected).parquet", text)
