"""Text as it reads, whatever its spelling."""

import re
import unicodedata

_APART = re.compile(r"[\W_]+")


def letters_of(text: str) -> str:
    """Letters and digits alone, in lower case and without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.casefold())))


def words_in(text: str) -> list[str]:
    """Its words, each as letters and digits alone; what stands between letters parts them."""
    return [word for part in _APART.split(text) if (word := letters_of(part))]
