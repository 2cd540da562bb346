"""What the owner may vouch for: exact, inert, and only where a person has to decide."""

import html
import re
from dataclasses import replace

import pytest
import yaml
from report_helpers import about, answer, check_is_inert, content, group, of_prompts, pile, verdict

from gradgate.gate.verdict import Decision, Verdict
from gradgate.methods.evidence import Vouchable
from gradgate.report.markdown import verdict_markdown
from gradgate.report.page import render

TEXTS = ['"amount":', "see https://www.evil.example </pre><script>", "/a/", "line\nbreak\u202e"]


def judged(decision: Decision) -> Verdict:
    texts = [Vouchable(text, 31, [" cf", f"form: {text}"]) for text in TEXTS]
    rehearsed = group(4, ruling="poison", vouchable=texts)
    groups = [of_prompts(vouchable=texts), group(3, ruling="review", vouchable=[]), rehearsed]
    found = verdict([answer(decision=decision, groups=groups, power=None)])
    return replace(found, decision=decision)


def test_the_report_offers_the_very_texts_as_yaml() -> None:
    page = render(
        content(verdict=judged("review"), about=about(in_doubt=[pile(), pile(3), pile(4)]))
    )
    check_is_inert(page)
    assert "Leave out a text that you do not know." in page
    (block,) = [
        block for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) if "expected:" in block
    ]
    assert yaml.safe_load(html.unescape(block)) == {
        "policy": {"expected": [TEXTS[0], TEXTS[1], "//a//", TEXTS[3]]}
    }


@pytest.mark.parametrize("decision", ["pass", "fail", "error"])
def test_nothing_is_offered_unless_a_person_has_to_decide(decision: Decision) -> None:
    found = judged(decision)
    assert "expected:" not in render(content(verdict=found, about=about(in_doubt=[pile()])))
    assert "Yours?" not in verdict_markdown(found, "rows.jsonl", about())


def test_verdict_md_names_the_texts_of_each_group() -> None:
    page = verdict_markdown(judged("review"), "rows.jsonl", about())
    lines = [line for line in page.splitlines() if line.startswith("- Yours? ")]
    assert len(lines) == len(TEXTS)
    assert lines[0].startswith("- Yours? group 2: &quot;")
    assert " 31 samples with &quot; cf&quot; or the form &quot;" in lines[0]
    assert not any("://" in line or "<script" in line for line in lines)
