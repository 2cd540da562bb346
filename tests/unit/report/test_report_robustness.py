"""Hostile and many contents leave the page inert and small, and its file whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_helpers import (
    Page,
    about,
    answer,
    check_is_inert,
    content,
    group,
    pile,
    sample,
    verdict,
)

from gradgate.errors import DataError
from gradgate.gate.verdict import Changes, TrustedReference
from gradgate.methods.evidence import Contrast, Example, Rehearsed, RehearsedPrompt
from gradgate.power.power import Power
from gradgate.report.deciding import Deciding
from gradgate.report.in_doubt import MAX_ROWS, DoubtfulRow
from gradgate.report.page import MAX_GROUPS, MAX_SAMPLES, ReportContent, render, write_report

HOSTILE = [
    "</script></style></title></pre><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>\"'><svg onload=alert(1)>",
    "javascript:alert(1) data:text/html,<b> https://evil.example/a.b?c www.evil.example",
    "{{ 7 * 7 }} {% include 'page.css' %} <!-- ]]> &lt;&#0; --> url(http://evil.example)",
    "abc \u202edcba\u2066 \u200b \x00 \x1b[2J \ud800 \ufeff",
    "<a href='http://evil.example'>" * 40_000,
    "&" * 1_000_000,
    "\U000e0041\n" * 500_000,
]


def hostile_content(text: str) -> ReportContent:
    bad = group(
        text=text, spans=[text] * 50, cues=[text] * 50,
        contrasts=[Contrast(text, 0.1, 0.2, 0.3, 0.4)] * 20, reasons=[text] * 50,
        examples=[Example(1, text, text)] * 20,
        rehearsed=Rehearsed(
            1, 2, 3.0, 4.0, cause=text, strings=[text] * 50, sufficiency=0.5, inert=[text] * 50,
            prompts=[RehearsedPrompt(1, text, text, text, -1.0, -2.0)] * 20,
        ),
    )  # fmt: skip
    said = answer(
        method=text,
        reasons=[text] * 20,
        groups=[replace(bad, id=i) for i in range(1, 31)],
        power=[Power(text, 1, 0, 0.0, (0.0, 1.0), None, None)] * 60,
        summary={"tau": 0.75, "threshold": {"state": text}},
        notes=[text] * 20,
    )
    row = DoubtfulRow(1, text, text, [text] * 50, True)
    doubtful = pile(shown=[row] * MAX_ROWS)
    flagged = sample(prompt=text, target=text, reasons=[text] * 50)
    return content(
        source=text, reproduce=text, version=text, rejected=[(1, text, text)] * 5,
        about=about(
            run=text, files=text, deciding=Deciding("restore", text),
            in_doubt=[replace(doubtful, group=i) for i in range(1, 31)],
            flagged=[replace(doubtful, group=i, why="flagged") for i in range(1, 31)],
        ),
        verdict=verdict(
            [said], reasons=[text] * 20, dataset_fingerprint=text, model={text: text},
            reference=TrustedReference(text, text, 1), changes=Changes(not_compared=text),
        ),
        top_flagged=[flagged] * 100,
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_and_short(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, hostile_content(text))
    check_is_inert(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 1_000_000


def test_many_marks_make_a_page_below_a_megabyte() -> None:
    many = hostile_content("& a " * 100_000)
    (said,) = many.verdict.answers
    groups = [replace(found, spans=["a"], cues=["a"]) for found in said.groups]
    marked = replace(many.verdict, answers=[replace(said, groups=groups)])
    page = render(replace(many, verdict=marked))
    assert page.count("<mark>") > 5_000
    assert len(page) < 1_000_000


def test_a_million_rows_make_a_small_page() -> None:
    values = np.random.default_rng(0).random(1_000_000)
    many = content(entropies=values, recurrences=values, flagged=values > 0.5)
    assert len(render(many)) < 60_000


def test_long_lists_are_cut_and_counted() -> None:
    page = render(
        content(
            [answer(groups=[group(i) for i in range(1, MAX_GROUPS + 4)])],
            top_flagged=[sample(row) for row in range(MAX_SAMPLES + 30)],
        )
    )
    assert "and 3 more groups" in page
    assert f"and {100 - MAX_SAMPLES} more flagged samples" in page
    assert f"Row {MAX_SAMPLES - 1}<" in page
    assert f"Row {MAX_SAMPLES}<" not in page


def test_a_link_leads_to_a_group_that_is_shown() -> None:
    many = [group(i) for i in range(1, MAX_GROUPS + 2)]
    samples = [sample(group=MAX_GROUPS), sample(group=MAX_GROUPS + 1), sample(group=99)]
    parsed = Page(render(content([answer(groups=many)], top_flagged=samples)))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    links = [str(attributes["href"])[1:] for tag, attributes in parsed.elements if tag == "a"]
    assert len(ids) == len(set(ids))
    assert f"group-{MAX_GROUPS}" in links
    assert set(links) <= set(ids)


def test_the_policy_of_the_page_forbids_everything_but_its_style() -> None:
    (policy,) = [
        str(attributes["content"])
        for tag, attributes in Page(render(content())).elements
        if tag == "meta" and "http-equiv" in attributes
    ]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script" not in policy


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, content())
    first = path.read_bytes()
    with pytest.raises(AttributeError):
        write_report(path, content([answer(groups=[None])]))
    assert path.read_bytes() == first
    write_report(path, content(source="other.jsonl"))
    assert path.read_bytes() != first
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_report(tmp_path / "none" / "report.html", content())
