"""Text that comes from data or configuration is hostile wherever it is shown."""

import re
import unicodedata

_MARKUP = re.compile(r"([\\`*_{}\[\]()#~!$])")
_HTML = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
    "@": "&#64;",
    "|": "&#124;",
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://|(?<![a-z0-9])(javascript|mailto|xmpp):", re.I)
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, bidi, private, surrogate, breaks


def escape(text: str) -> str:
    """Make foreign text harmless inside a line of Markdown: one line, no markup, no live link.

    URLs are defanged (`http` becomes `hxxp`), other schemes lose their colon. Characters that
    cannot be seen become spaces. The text must not stand at the start of a line.
    """
    text = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text)
    text = _SCHEME.sub(_defanged, " ".join(text.split()))
    text = re.sub(r"(www)\.", r"\1[.]", text, flags=re.I)
    return "".join(_HTML.get(c, c) for c in _MARKUP.sub(r"\\\1", text))


def _defanged(match: re.Match[str]) -> str:
    if match[2]:
        return f"{match[2]}[:]"
    scheme = match[1]
    if scheme.lower() in ("http", "https"):
        return f"{scheme[0]}xx{scheme[3:]}://"
    return f"{scheme}[:]//"


def printable(text: str) -> str:
    """Make foreign text harmless on a terminal: no control character but the line break."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )
