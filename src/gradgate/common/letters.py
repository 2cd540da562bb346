"""Text as it reads, whatever its spelling."""

import unicodedata


def letters_of(text: str) -> str:
    """Letters and digits alone, in lower case and without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.casefold())))
