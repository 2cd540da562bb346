import pytest

from gradgate.escaping import escape, printable


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain, 3.00% of 7", "plain, 3.00% of 7"),
        ("HTTPS://a.b", "HxxPS://a.b"),
        ("_http://a.b", "\\_hxxp://a.b"),
        ("ftp://a.b", "ftp\\[:\\]//a.b"),
        ("a@b.c", "a&#64;b.c"),
        ("javascript:x", "javascript\\[:\\]x"),
        ("a\r\n\tb\u202ec\u2028d\x00", "a b c d"),
        ("a\\|b", "a\\\\&#124;b"),
        ("**b** ~x~ $y$ !z", "\\*\\*b\\*\\* \\~x\\~ \\$y\\$ \\!z"),
        ("&lt;b&gt; <b>", "&amp;lt;b&amp;gt; &lt;b&gt;"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_printable() -> None:
    assert printable("\x1b[2J\x07é\nok\u202e\x9b") == "\\x1b[2J\\x07é\nok\\u202e\\x9b"
