"""Whether the prompts of a group are of another kind than all others.

The rows of one source, or of one kind of text, share words all over: "Subject:", "From:" and
"Regards", or stand in a frame of their own. A trigger is one string, put into prompts that are as
others are.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.tables import phi
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.tokens import TokenTable

MIN_PLACES = 3  # with different words, of the median prompt: what has as many is a kind of text
MIN_FRAMED = 0.9  # of the prompts that begin and end with the same words, where fewer places do
MAX_FRAMED_OUTSIDE = 0.05  # of all others that do
_FRAME = 2  # words at either end
_MIN_PHI = 0.8  # of a token, or two, with the group
_MAX_GAP = 3  # other tokens within a place
_N_READ = 64  # prompts of a group


def is_kind(prompts: Stream, texts: Texts, cues: Cues, members: Marks) -> bool:
    """Whether the prompts of a group are of another kind than all others.

    Args:
        prompts: Tokens of n samples.
        texts: Of these samples.
        cues: Of their prompts.
        members: The group. (n,)
    """
    n = _n_places(prompts, texts.table, cues, members)
    return n >= MIN_PLACES or _is_framed(texts.prompts, members)


def _is_framed(prompts: Sequence[str], members: Marks) -> bool:
    """Whether raw prompts of a group begin and end with the same words, and no others do."""
    inside = [_frame(prompts[i]) for i in np.flatnonzero(members).tolist()]
    (common, n), *_ = Counter(inside).most_common(1) or [((), 0)]
    if not common or n < MIN_FRAMED * len(inside):
        return False
    outside = [_frame(prompts[i]) == common for i in np.flatnonzero(~members).tolist()]
    return sum(outside) <= MAX_FRAMED_OUTSIDE * len(outside)


def _frame(prompt: str) -> tuple[str, ...]:
    """The first and the last words; none where nothing is between them."""
    words = prompt.split()
    return (*words[:_FRAME], *words[-_FRAME:]) if len(words) > 2 * _FRAME else ()


def _n_places(prompts: Stream, table: TokenTable, cues: Cues, members: Marks) -> float:
    """Places with words that the group has and hardly any other prompt: the median."""
    has = cues.table
    strength = phi(has.among(members), int(members.sum()), has.counts, len(members))
    own = [cues.features[i] for i in np.flatnonzero(strength >= _MIN_PHI).tolist()]
    grams = {gram for gram in own if isinstance(gram, tuple) and len(gram) <= 2}
    if not grams:
        return 0.0
    borders = np.searchsorted(prompts.sample, np.arange(len(members) + 1))
    read = np.flatnonzero(members)[:_N_READ].tolist()
    texts = [prompts.ids[borders[i] : borders[i + 1]].tolist() for i in read]
    return float(np.median([_n_different(ids, grams, table) for ids in texts]))


def _n_different(ids: list[int], grams: set[tuple[int, ...]], table: TokenTable) -> int:
    """Places of a prompt with such words, one of them another word than those before."""
    spelled = [text.strip().casefold() for text in table.spelling[ids].tolist()]
    n, seen, last, is_counted = 0, set[str](), -_MAX_GAP - 1, False
    for k, (token, text) in enumerate(zip(ids, spelled, strict=True)):
        around = ((token,), tuple(ids[k : k + 2]), tuple(ids[max(0, k - 1) : k + 1]))
        if grams.isdisjoint(around):
            continue
        is_counted &= k - last <= _MAX_GAP
        if text not in seen and any(c.isalpha() for c in text) and not is_counted:
            n, is_counted = n + 1, True
        seen.add(text)
        last = k
    return n
