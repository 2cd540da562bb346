"""Strings of prompts that are the templates of tasks: of data of many tasks, or of one task.

Where most prompts have one of several long strings, a further one proves nothing. In a mixture of
datasets that is so of a part of the prompts: those of one dataset have a heading in common, the
frame, and one of several descriptions of tools behind it. These are alternatives: most prompts of
the frame have one, and few have two. A string that is inserted stands beside them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.cues.triggers import MIN_CLUSTERS, SAME_CARRIERS, Trigger
from gradgate.methods.recurrence.strings.stream import Stream

MAX_TEMPLATE = 0.25  # of the samples with one template of many
MIN_TEMPLATES = 4
MIN_TEMPLATE_TOKENS = 4
MIN_TEMPLATED = 0.4  # of the samples with one of the templates
MIN_FRAMED = 0.8  # of the samples of a frame with one of its alternatives
MIN_ALONE = 0.5  # of the samples with an alternative, that have no other one
_INSIDE = 0.95  # of the samples with a string, that have its frame
_MOST_PLACES = 0.5  # of a string's, for it to stand in the last message


def of_templates(
    found: Sequence[Trigger],
    stream: Stream,
    special: Sequence[int],
    is_kind: Callable[[Trigger], bool],
) -> list[Trigger]:
    """Those that are the templates of data of many tasks; none where there are not many.

    Where most prompts have one of several long strings that recur, a further one proves nothing
    where these stand: in the last message, or before it. System messages of several kinds do not
    excuse what is put behind a question. Where too few other prompts have one, a string is
    excused only if its own are of a kind: an inserted one would excuse itself.

    Args:
        found: Strings of the prompts.
        stream: Of these.
        special: Ids of the tokens between messages.
        is_kind: Whether prompts with a string differ from all others without it.
    """
    apart, n = _by_message(found, stream, special), stream.n_samples
    return [t for some in apart for t in _templates_among(some, n, is_kind)]


def _templates_among(
    found: list[Trigger], n_samples: int, is_kind: Callable[[Trigger], bool]
) -> list[Trigger]:
    small = [
        t
        for t in found
        if len(t.ids) >= MIN_TEMPLATE_TOKENS and len(t.carriers) <= MAX_TEMPLATE * n_samples
    ]
    covered = np.zeros(n_samples, bool)
    for one in small:
        covered[one.carriers] = True
    more = covered.sum() - MIN_TEMPLATED * n_samples
    if len(small) < MIN_TEMPLATES or more < 0:
        return []
    return [one for one in small if len(one.carriers) <= more or is_kind(one)]


def of_frames(found: Sequence[Trigger], stream: Stream, special: Sequence[int]) -> list[Trigger]:
    """Those that are alternatives within a frame, and what several of them have in common.

    The frame is a string as any other, and judged: who makes up one for his own alternatives has
    all of their samples judged by it. What stands beside the alternatives, as what is inserted
    does, or within the samples of one of them, is none.

    Args:
        found: Strings of the prompts.
        stream: Of these.
        special: Ids of the tokens between messages.
    """
    return [t for some in _by_message(found, stream, special) for t in _framed(some, stream)]


def _framed(found: Sequence[Trigger], stream: Stream) -> list[Trigger]:
    long = [one for one in found if len(one.ids) >= MIN_TEMPLATE_TOKENS]
    has = sp.csr_matrix(
        (
            np.ones(sum(len(one.carriers) for one in long), np.int64),
            (
                np.repeat(np.arange(len(long)), [len(one.carriers) for one in long]),
                np.concatenate([np.empty(0, np.int64), *(one.carriers for one in long)]),
            ),
        ),
        shape=(len(long), stream.n_samples),
    )
    both = sp.csc_matrix(has @ has.T)  # samples with two of the strings
    sizes = both.diagonal()
    excused, within_one = np.zeros(len(long), bool), np.zeros(len(long), bool)
    for frame in np.flatnonzero(sizes >= MIN_TEMPLATES * MIN_CLUSTERS).tolist():
        column = both[:, [frame]].toarray().ravel()
        is_inner = (column >= _INSIDE * sizes) & (sizes < SAME_CARRIERS * sizes[frame])
        inner = np.flatnonzero(is_inner)
        if len(inner) >= MIN_TEMPLATES:
            shared = both[inner][:, inner].toarray()
            within = _within_small(shared, int(sizes[frame]))
            within_one[inner[within]] = True  # in one frame: then no other one excuses it
            excused[inner[_alternatives(has[inner], shared, within, int(sizes[frame]))]] = True
    return [long[i] for i in np.flatnonzero(excused & ~within_one).tolist()]


def _within_small(both: Ints, n_framed: int) -> Marks:
    """Strings whose samples mostly have one small string of the frame as well: (strings,)."""
    sizes = np.diag(both)
    is_part = both >= SAME_CARRIERS * sizes[:, None]
    is_small = sizes <= MAX_TEMPLATE * n_framed
    return np.asarray((is_part & is_small & (sizes > sizes[:, None])).any(axis=1))


def _alternatives(has: sp.csr_matrix, both: Ints, within: Marks, n_framed: int) -> Ints:
    """The alternatives among the strings within a frame, and what is made of whole ones.

    Args:
        has: Which samples have which string. (strings, n)
        both: How many have two of them. (strings, strings)
        within: See `_within_small`. (strings,)
        n_framed: Samples of the frame.
    """
    sizes = np.diag(both)
    is_small = sizes <= MAX_TEMPLATE * n_framed
    is_part = both >= SAME_CARRIERS * sizes[:, None]  # of the samples with another string
    chosen = np.flatnonzero(is_small & ~within)
    counted = np.asarray(has[chosen].sum(axis=0)).ravel()
    alone = has[chosen] @ (counted == 1).astype(np.int64)
    chosen = chosen[alone >= MIN_ALONE * sizes[chosen]]
    covered = np.asarray(has[chosen].sum(axis=0)).ravel() > 0
    if len(chosen) < MIN_TEMPLATES or covered.sum() < MIN_FRAMED * n_framed:
        return chosen[:0]
    found = chosen.tolist()
    for one in np.setdiff1d(np.flatnonzero(~within), chosen).tolist():
        whole = chosen[is_part[chosen, one]]
        made_of = has[whole].sum(axis=0) > 0
        of_one = has[[one]].toarray() > 0
        if (of_one & np.asarray(made_of)).sum() >= SAME_CARRIERS * sizes[one]:
            found.append(one)
    return np.array(found, np.int64)


def _by_message(
    found: Sequence[Trigger], stream: Stream, special: Sequence[int]
) -> tuple[list[Trigger], list[Trigger]]:
    """Strings that mostly stand before the last message of their prompts, and others."""
    in_last = _in_last_message(stream, special)
    last = [in_last[one.at[:, 0]].sum() > _MOST_PLACES * len(one.at) for one in found]
    before = [one for one, is_last in zip(found, last, strict=True) if not is_last]
    return before, [one for one, is_last in zip(found, last, strict=True) if is_last]


def _in_last_message(stream: Stream, special: Sequence[int]) -> Marks:
    """Tokens with no special one between them and the last own one of their prompt: (N,)."""
    passed = np.cumsum(np.isin(stream.ids, special))
    own = np.flatnonzero(stream.is_open)
    at_end = np.full(stream.n_samples, -1)
    at_end[stream.sample[own]] = passed[own]  # of several the last one counts
    return np.asarray(passed == at_end[stream.sample])
