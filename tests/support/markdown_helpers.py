"""The documents of the repository, and what stands in them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt  # rich, which gradgate needs, is built on it
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CHANGELOG.md", "docs/*.md", "benchmarks/**/*.md", "demo/**/*.md")
    for path in ROOT.glob(pattern)
)


@dataclass(frozen=True)
class Fence:
    """A fenced block.

    Attributes:
        language: First word behind the fence.
        mark: The others.
        line: Where it begins, from 1.
    """

    language: str
    mark: str
    text: str
    line: int


@dataclass(frozen=True)
class Document:
    """A Markdown file, as GitHub reads it."""

    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return ROOT / self.name

    @cached_property
    def tokens(self) -> list[Token]:
        """Its blocks."""
        parser = MarkdownIt("commonmark").enable("table")
        return parser.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def _inline(self) -> list[Token]:
        return [child for token in self.tokens for child in token.children or []]

    def links(self) -> Iterator[str]:
        """Targets of links and images."""
        for token in self._inline:
            if token.type == "link_open":
                yield str(token.attrs["href"])
            elif token.type == "image":
                yield str(token.attrs["src"])

    def code_spans(self) -> list[str]:
        """Code within the text."""
        return [token.content for token in self._inline if token.type == "code_inline"]

    def fences(self, *languages: str) -> list[Fence]:
        """Fenced blocks of some languages, in order."""
        found = []
        for token in self.tokens:
            if token.type == "fence":
                language, _, mark = token.info.partition(" ")
                line = token.map[0] + 1 if token.map else 0
                found.append(Fence(language, mark.strip(), token.content, line))
        return [fence for fence in found if fence.language in languages]

    def headings(self, level: str | None = None) -> list[str]:
        """Texts of the headings, of one level (`h3`) or of all."""
        return [
            "".join(child.content for child in inline.children or [])
            for opening, inline in zip(self.tokens, self.tokens[1:], strict=False)
            if opening.type == "heading_open" and level in (None, opening.tag)
        ]

    def anchors(self) -> set[str]:
        """What a link to a heading may name, by GitHub's rules."""
        seen: Counter[str] = Counter()
        found = set()
        for heading in self.headings():
            slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return found

    def section(self, heading: str) -> list[Token]:
        """The blocks below a heading, up to the next one of any level."""
        starts = [i for i, token in enumerate(self.tokens) if token.type == "heading_open"]
        for start, end in zip(starts, [*starts[1:], len(self.tokens)], strict=True):
            inline = self.tokens[start + 1]
            if "".join(child.content for child in inline.children or []) == heading:
                return self.tokens[start + 3 : end]
        raise AssertionError(f"{self.name} has no heading {heading!r}")

    def first_column(self, heading: str) -> list[str]:
        """Code spans in the first cell of every row of the tables below a heading."""
        tokens = self.section(heading)
        names: list[str] = []
        for i, token in enumerate(tokens):
            if token.type == "tr_open" and tokens[i + 1].type == "td_open":
                cell = tokens[i + 2].children or []
                names += [child.content for child in cell if child.type == "code_inline"]
        return names
