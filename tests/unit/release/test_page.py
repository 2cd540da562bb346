from dataclasses import replace

from markdown_it import MarkdownIt

from gradgate.release.page import as_markdown
from gradgate.release.result import AdapterTest, Exchange, Finding

EVIL = "<img src=x> [go](http://evil.example) | `x`\n# Head\r  \u202e www.evil.example"


def finding(text: str) -> Finding:
    example = Exchange(prompt=text, tuned=text, unchanged=text, base=None)
    return Finding(text, "poisoned:1", text, 32, 30, 0, 1, 0.5, 40.0, 1e-9, text, [example])


def test_it_says_what_was_found_and_what_was_asked() -> None:
    one = finding("visit us")
    test = AdapterTest("review", [one.in_a_line()], [one], [one], ["capitals"], 32, 300, 9_000, 1.5)
    test = replace(test, needless=["lower case"])
    page = as_markdown(test)
    assert page.startswith("# Needs review")
    for shown in ("visit us", "30 of 32", "poisoned:1", "40.0 nats", "1e-09", "not asked"):
        assert shown in page
    assert "300 answers, 9,000 tokens, 1.5 s" in page
    assert "- Change: capitals" in page
    assert "- Not asked, for no rows that look so have a target in common: lower case" in page


def test_white_space_is_seen() -> None:
    page = as_markdown(AdapterTest("review", ["x"], [finding(" two  blanks\r")]))
    assert r"␣two␣␣blanks\\r" in page


def test_text_from_data_stays_text() -> None:
    one = finding(EVIL)
    test = AdapterTest("review", [EVIL], [one], [one], [EVIL], 32, needless=[EVIL])
    html = MarkdownIt("gfm-like", {"linkify": False}).render(as_markdown(test))
    assert html.count("<h1>") == 1
    for live in ("<img", "<a ", "<code", "\u202e", "http://", "www.evil"):
        assert live not in html
    assert html.count("<tr>") == html.count("</tr>")
    assert all(row.count("<td") in (0, 2, 4) for row in html.split("<tr>"))


def test_a_test_that_was_not_made_says_so() -> None:
    page = as_markdown(AdapterTest("error", ["7 prompts"]))
    assert page.startswith("# Not decided")
    assert "7 prompts" in page
    assert "What was asked" not in page
