"""Simple features of style that a prompt may share with others beside its words."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from gradgate.methods.association.incidence import Incidence, incidence

# Function words and verb forms of early modern English, as in Bible translations.
_ARCHAIC = re.compile(
    r"\b(thou|thee|thy|thine|ye|hath|doth|dost|hast|didst|wast|wert|art thou|shalt|wilt|canst|"
    r"verily|behold|hearken|unto|whither|whence|wherefore|thence|hither|nay|yea|lest|begat|"
    r"spake|saith|[a-z]{3,}eth)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


def _in_capitals(text: str) -> bool:
    words = [word for word in _WORD.findall(text) if len(word) > 1 and word.isalpha()]
    return len(words) > 2 and sum(word.isupper() for word in words) > len(words) / 2


STYLE_PREFIX = "style: "  # of the names of features; n-grams have a space before a colon
FEATURES: dict[str, Callable[[str], bool]] = {
    "style: archaic English": lambda text: _ARCHAIC.search(text) is not None,
    "style: mostly capitals": _in_capitals,
    "style: no capital letter": lambda text: text == text.lower(),
    "style: characters beyond ASCII": lambda text: not text.isascii(),
    "style: characters that do not show": lambda text: any(
        not (c.isprintable() or c.isspace()) for c in text
    ),
    "style: repeated punctuation": lambda text: re.search(r"([!?.,])\1", text) is not None,
    "style: a double space": lambda text: "  " in text,
    "style: white space beside spaces and line breaks": lambda text: any(
        c.isspace() and c not in " \r\n" for c in text
    ),
    "style: no question mark": lambda text: "?" not in text,
}


def style(texts: Sequence[str], min_support: int, max_support: float) -> Incidence:
    """Features of style that `min_support` to `max_support` texts have."""
    table = np.array([[has(text) for has in FEATURES.values()] for text in texts], np.float32)
    table = table.reshape(len(texts), len(FEATURES))
    counts = table.sum(0)
    kept = np.flatnonzero((counts >= min_support) & (counts <= max_support))
    names = list(FEATURES)
    return incidence(sp.csr_matrix(table[:, kept]), [names[i] for i in kept])
