"""Text as it reads, whatever its spelling."""

import re
import unicodedata
from functools import lru_cache

_APART = re.compile(r"[\W_]+")
_JAMO = range(0x1100, 0x1200)  # letters of which a Korean syllable has two or three


def letters_of(text: str) -> str:
    """Letters and digits alone, in lower case and without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.casefold())))


def folded(text: str) -> str:
    """Without case, and with one space for white space."""
    return " ".join(text.casefold().split())


def words_in(text: str) -> list[str]:
    """Its words, each as letters and digits alone; what stands between letters parts them."""
    return [word for part in _APART.split(text) if (word := letters_of(part))]


def weight_of(text: str) -> int:
    """Letters and digits, of which an ideograph or a syllable of Japanese counts as two."""
    return sum(map(letter_weight, letters_of(text)))


@lru_cache(maxsize=65_536)
def letter_weight(c: str) -> int:
    """How many letters one says as much as."""
    is_wide = unicodedata.east_asian_width(c) == "W" and ord(c) not in _JAMO
    return 2 if is_wide and unicodedata.category(c) == "Lo" else 1
