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
    "|": "&#124;",
}
# A whole run of the characters of schemes, so that a long one is looked at once.
_SCHEME = re.compile(
    r"(?<![a-z0-9+.-])([a-z0-9+.-]+)://|(?<![a-z0-9])(javascript|mailto|xmpp):", re.I
)
_HOST = re.compile(r"(?:(?<=://)|(?<![a-z0-9])www\.)[^\s/?#\\]+", re.I)
_LIVE = re.compile(r":(?=//)|(?<=javascript):|(?<=mailto):|(?<=xmpp):|(?<=www)\.|@", re.I)
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, bidi, private, surrogate, breaks


def escape(text: str) -> str:
    """Make foreign text harmless inside a line of Markdown: one line, no markup, no live link.

    URLs are defanged (`http` becomes `hxxp`), other schemes lose their colon. So are addresses of
    e-mail (`[@]`) and hosts (`www[.]`), of which GitHub makes links when entities are read already.
    Characters that cannot be seen become spaces. The text must not stand at the start of a line.
    """
    text = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text)
    text = " ".join(text.split())
    text = "".join(_defanged(text, list(text)))
    text = re.sub(r"(www)\.", r"\1[.]", text, flags=re.I).replace("@", "[@]")
    return "".join(_HTML.get(c, c) for c in _MARKUP.sub(r"\\\1", text))


def _defanged(text: str, shown: list[str]) -> list[str]:
    """Change what is shown for the characters of `text` so that no scheme in it is one."""
    for match in _SCHEME.finditer(text):
        colon = match.end() - (1 if match[2] else 3)
        if (match[1] or "").lower() in ("http", "https"):
            shown[match.start() + 1 : match.start() + 3] = "xx"
        else:
            shown[colon] = "[:]"
    return shown


def printable(text: str) -> str:
    """Make foreign text harmless on a terminal: no control character but the line break."""
    return "".join(_each_printable(text))


def harmless(text: str) -> list[str]:
    """What a page shows for each character of foreign text: no live link, nothing that hides.

    As `printable`, and URLs are defanged: `http` becomes `hxxp`, dots of hosts become `[.]`, other
    schemes lose their colon. The page must still be escaped as HTML.
    """
    shown = _defanged(text, _each_printable(text))
    for host in _HOST.finditer(text):
        for i in range(*host.span()):
            if text[i] == ".":
                shown[i] = "[.]"
    return shown


def yaml_string(text: str) -> str:
    r"""A text as a double-quoted string of YAML, in one line, that no viewer makes a link of.

    What is read from it is the very text: a character that could be of a link, that does not show
    or that ends a line is written by its number (`https\x3a//`).
    """
    shown = "".join(_in_yaml(c) for c in text)
    return f'"{_LIVE.sub(lambda found: _by_number(found[0]), shown)}"'


def _in_yaml(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    return c if c.isprintable() else _by_number(c)


def _by_number(c: str) -> str:
    number = ord(c)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _each_printable(text: str) -> list[str]:
    if text.replace("\n", "").isprintable():  # asked of the whole at once: most texts are
        return list(text)
    return [_printable(c) for c in text]


def _printable(c: str) -> str:
    if c.isprintable() or c == "\n":
        return c
    return c.encode("unicode_escape").decode("ascii")
