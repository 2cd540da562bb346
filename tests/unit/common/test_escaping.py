import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gradgate.common.escaping import escape, harmless, printable, yaml_string


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain, 3.00% of 7", "plain, 3.00% of 7"),
        ("HTTPS://a.b", "HxxPS://a.b"),
        ("_http://a.b", "\\_hxxp://a.b"),
        ("_+1http://a.b", "\\_+1http\\[:\\]//a.b"),
        ("ftp://a.b", "ftp\\[:\\]//a.b"),
        ("a@b.c", "a\\[@\\]b.c"),
        ("WWW.a.b", "WWW\\[.\\]a.b"),
        ("javascript:x", "javascript\\[:\\]x"),
        ("a\r\n\tb\u202ec\u2028d\x00", "a b c d"),
        ("a\\|b", "a\\\\&#124;b"),
        ("**b** ~x~ $y$ !z", "\\*\\*b\\*\\* \\~x\\~ \\$y\\$ \\!z"),
        ("&lt;b&gt; <b>", "&amp;lt;b&amp;gt; &lt;b&gt;"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@given(st.text(st.sampled_from("w.@abh:/&#64;\\_*<>[]()|` ")))
@example("see ada@example.com, www.example.com and mailto:ada@example.com")
def test_what_is_read_of_it_holds_no_address_that_github_links(text: str) -> None:
    """E-mail addresses are sought where entities and backslashes are read already."""
    inline = MarkdownIt("commonmark").parseInline(f"- {escape(text)}")[0]
    read = "".join(child.content for child in inline.children or [])
    assert not re.search(r"[a-z0-9.+_-]@[a-z0-9]|www\.|https?://", read, re.I)


def test_printable() -> None:
    assert printable("\x1b[2J\x07é\nok\u202e\x9b") == "\\x1b[2J\\x07é\nok\\u202e\\x9b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://u@a.b.c/d.e?f", "see hxxps://u@a[.]b[.]c/d.e?f"),
        ("HTTP://A.B", "HxxP://A[.]B"),
        ("www.a.b is a.b", "www[.]a[.]b is a.b"),
        ("1http://a.b", "1http[:]//a[.]b"),
        ("http://http://a.b", "hxxp://hxxp://a[.]b"),
        ("javascript:alert(1)", "javascript[:]alert(1)"),
        ("a\u202eb\x00c\ud800\nd\te", "a\\u202eb\\x00c\\ud800\nd\\te"),
        ("torch.nn: fine.", "torch.nn: fine."),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert "".join(harmless(text)) == shown


@given(st.text(st.sampled_from("htpsHTPS:/.w1+-a \u202e\n")))
def test_harmless_shows_each_character_and_no_link(text: str) -> None:
    shown = harmless(text)
    assert len(shown) == len(text)
    page = "".join(shown).lower()
    assert "http://" not in page
    assert "https://" not in page
    assert "\u202e" not in page


def test_a_long_run_of_scheme_characters_takes_no_quadratic_time() -> None:
    assert harmless("a" * 200_000)[-1] == "a"  # minutes, if each begin were tried to the end


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("mailto:a@b.c, https://u@www.a.b and javascript:x")
@example('"a\\b" \u202e\u2028 \U000e0041\n```\n# x')
def test_a_string_of_yaml_says_the_very_same_and_links_nowhere(text: str) -> None:
    written = yaml_string(text)
    assert yaml.safe_load(f"- {written}") == [text]
    assert written.isprintable()
    assert not re.search(r"://|@|www\.|(javascript|mailto|xmpp):", written, re.I)
    assert "".join(harmless(written)) == written
