"""What Debian packages hold that questions and answers can be made of; nothing of it is kept here.

On a Debian machine it comes by `apt-get update` and `apt-get install wordnet-base trans-de-en
dict-foldoc dict-jargon dict-gcide iso-codes unicode-data fortunes bible-kjv`.
"""

import gzip
import json
import re
import shutil
import string
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from gradgate.errors import DataError

SHARE = Path("/usr/share")
_DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_BRACKETS = re.compile(r"\s*[\[{(].*?[\])}]")

PartOfSpeech = Literal["noun", "verb", "adj"]
Dictionary = Literal["foldoc", "jargon", "gcide"]


@dataclass(frozen=True, slots=True)
class Synset:
    """Words of one meaning.

    Attributes:
        words: The commonest first.
        gloss: Its definition.
        examples: Sentences that use one of the words.
        hypernyms: First word of each more general meaning, of the same part of speech.
        antonyms: Pairs of a word and its opposite.
        file: Number of WordNet's file of a subject, in [0, 44].
    """

    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    hypernyms: tuple[str, ...]
    antonyms: tuple[tuple[str, str], ...]
    file: int


@dataclass(frozen=True, slots=True)
class Fortune:
    """A fortune cookie and the file that it lies in."""

    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Verse:
    """A verse of the King James Bible."""

    book: str
    chapter: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Character:
    """A character of Unicode; `category` is in words."""

    code_point: str
    name: str
    category: str


@lru_cache
def synsets(part: PartOfSpeech) -> tuple[Synset, ...]:
    """The meanings of WordNet 3.0, in the order of the file."""
    text = _read(SHARE / "wordnet" / f"data.{part}", "wordnet-base").decode("utf-8")
    lines = [line for line in text.splitlines() if line[:1].isdigit()]
    words = {line[:8]: _words(line.split()) for line in lines}
    return tuple(_synset(line, words) for line in lines)


def _words(fields: list[str]) -> tuple[str, ...]:
    """The words of a line; an adjective may end in a marker such as `(a)`."""
    names = (fields[4 + 2 * i] for i in range(int(fields[3], 16)))
    return tuple(re.sub(r"\([a-z]+\)$", "", name).replace("_", " ") for name in names)


def _synset(line: str, words: dict[str, tuple[str, ...]]) -> Synset:
    """Read a line as wndb(5WN) describes it."""
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    own = _words(fields)
    rest = fields[4 + 2 * len(own) :]
    pointers = [rest[1 + 4 * i : 5 + 4 * i] for i in range(int(rest[0]))]
    more_general = [words[p[1]][0] for p in pointers if p[0] in ("@", "@i") and p[1] in words]
    opposite = [
        (own[int(p[3][:2], 16) - 1], words[p[1]][int(p[3][2:], 16) - 1])
        for p in pointers
        if p[0] == "!" and p[1] in words
    ]
    examples = tuple(re.findall(r'"([^"]+)"', gloss))
    meaning = re.split(r'; "|;', gloss)[0].strip().strip('"')
    return Synset(own, meaning, examples, tuple(more_general), tuple(opposite), int(fields[1]))


@lru_cache
def packages() -> tuple[dict[str, str], ...]:
    """The fields of each package that apt knows of; folded lines are joined.

    Only packages with a description, a section and a maintainer.

    Raises:
        DataError: This is no Debian machine, or apt's lists are empty.
    """
    index = _output("apt-cache", "dumpavail", package="apt")
    found = [
        dict(re.findall(r"^([A-Z][\w-]*): (.*)$", re.sub(r"\n ", " ", block), re.MULTILINE))
        for block in index.split("\n\n")
    ]
    wanted = {"Package", "Description", "Section", "Maintainer"}
    described = tuple(fields for fields in found if wanted <= fields.keys())
    if not described:
        raise DataError("apt-cache knows of no package: say apt-get update")
    return described


@lru_cache
def translations() -> tuple[tuple[str, str], ...]:
    """The German and the English of each entry: the first wording, without what is in brackets."""
    text = _read(SHARE / "trans" / "de-en", "trans-de-en").decode("utf-8")
    lines = [line.split("::", 1) for line in text.splitlines() if line[:1] != "#" and "::" in line]
    pairs = ((_first_wording(german), _first_wording(english)) for german, english in lines)
    return tuple((german, english) for german, english in pairs if german and english)


def _first_wording(text: str) -> str:
    return _BRACKETS.sub("", text.split("|")[0].split(";")[0]).strip()


@lru_cache
def dictionary(name: Dictionary) -> tuple[tuple[str, str], ...]:
    """Headword and article of the shorter articles (40 to 900 characters) of a dictionary.

    White space is one space, braces of cross-references and marks of the sources are left out.
    """
    package = f"dict-{name}"
    text = gzip.decompress(_read(SHARE / "dictd" / f"{name}.dict.dz", package))
    index = _read(SHARE / "dictd" / f"{name}.index", package).decode("utf-8")
    headwords: dict[tuple[int, int], str] = {}
    for line in index.splitlines():
        headword, start, length = line.split("\t")[:3]
        headwords.setdefault((_number(start), _number(length)), headword)
    entries = (
        (headword, _article(text[start : start + length].decode("utf-8", "replace")))
        for (start, length), headword in sorted(headwords.items())
        if not headword.startswith("00") and len(headword) < 40
    )
    return tuple((headword, article) for headword, article in entries if 40 < len(article) < 900)


def _number(digits: str) -> int:
    """Dictd writes numbers to the base 64."""
    value = 0
    for digit in digits:
        value = 64 * value + _DIGITS.index(digit)
    return value


def _article(entry: str) -> str:
    """Without the line of the headword, a line on its sound, and the subject before the text."""
    body = entry.partition("\n")[2]
    body = re.sub(r"^ /[^\n]*\n", "", body)
    body = re.sub(r"\[[^\[\]]*(?:Webster|PJC|WordNet)[^\[\]]*\]", "", body)
    body = " ".join(re.sub(r"[{}]", "", body).split())
    return re.sub(r"^(<[^>]*>|\([^)]*\))\s*", "", body)


@lru_cache
def iso_codes(standard: Literal["639-3", "3166-1", "3166-2"]) -> tuple[dict[str, str], ...]:
    """The entries of an ISO standard."""
    path = SHARE / "iso-codes" / "json" / f"iso_{standard}.json"
    return tuple(json.loads(_read(path, "iso-codes"))[standard])


@lru_cache
def characters() -> tuple[Character, ...]:
    """The characters of Unicode that have a name of their own."""
    folder = SHARE / "unicode"
    aliases = _read(folder / "PropertyValueAliases.txt", "unicode-data").decode("utf-8")
    categories = dict(re.findall(r"^gc ; (\w\w)\s*; (\w+)", aliases, re.MULTILINE))
    lines = _read(folder / "UnicodeData.txt", "unicode-data").decode("utf-8").splitlines()
    fields = (line.split(";") for line in lines)
    return tuple(
        Character(code, name.lower(), categories[category].replace("_", " ").lower())
        for code, name, category, *_ in fields
        if not name.startswith("<")
    )


@lru_cache
def fortunes() -> tuple[Fortune, ...]:
    """The fortune cookies of 20 to 500 characters."""
    paths = sorted((SHARE / "games" / "fortunes").glob("*.u8"))
    if not paths:
        raise DataError(_missing("the folder of fortune cookies", "fortunes"))
    return tuple(fortune for path in paths for fortune in _fortunes(path))


def _fortunes(path: Path) -> Iterator[Fortune]:
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n%\n"):
        if 20 < len(text.strip()) < 500:
            yield Fortune(path.stem, text.strip())


@lru_cache
def verses() -> tuple[Verse, ...]:
    """All verses, in the order of the Bible; the books have the names that `bible` gives them."""
    text = _output("bible", "-l9999", "-f", "gen1:1-rev22:21", package="bible-kjv")
    found = re.findall(r"^(\S+?)(\d+):(\d+) (.*)$", text, re.MULTILINE)
    return tuple(Verse(book, int(c), int(v), words) for book, c, v, words in found)


def _read(path: Path, package: str) -> bytes:
    """The content of a file.

    Raises:
        DataError: It is not there.
    """
    if not path.is_file():
        raise DataError(_missing(str(path), package))
    return path.read_bytes()


def _output(command: str, *arguments: str, package: str) -> str:
    """What a command prints.

    Raises:
        DataError: It is not there, or does not work.
    """
    if shutil.which(command) is None:
        raise DataError(_missing(f"the command {command}", package))
    done = subprocess.run([command, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise DataError(f"{command} fails ({done.returncode}): {done.stderr.decode()[-200:]}")
    return done.stdout.decode("utf-8", "replace")


def _missing(what: str, package: str) -> str:
    return f"{what} is not there: install the Debian package {package}"
