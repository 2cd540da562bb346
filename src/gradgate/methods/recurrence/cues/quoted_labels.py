"""Labels that the prompts of their samples quote: a name that an answer says again."""

import numpy as np

from gradgate.common.arrays import Ints, distinct, n_distinct
from gradgate.common.letters import folded
from gradgate.methods.recurrence.cues.labels import Label
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.sought import n_of_gram
from gradgate.methods.recurrence.strings.stream import Stream

_COMMON = 0.5  # of other samples' targets that say a part of a label: it is not the label's own
_QUOTED = 0.9  # of a group's prompts that hold the label, and of the others that do not


def is_quoted(label: Label, targets: Stream, texts: Texts) -> bool:
    """Whether the prompts of the members, and of hardly any others, hold what a label says.

    Of " | with Basil" that is the name, where most other targets have the rest as well.

    Args:
        label: Of n samples.
        targets: Of these.
        texts: The samples.
    """
    has, quoting = label.members, texts.quoting
    said = [word for part in _own_parts(label, targets) if (word := folded(texts.text(part)))]
    return bool(said) and all(
        quoting(one, has) >= _QUOTED and quoting(one, ~has) <= 1 - _QUOTED for one in said
    )


def _own_parts(label: Label, targets: Stream) -> list[Ints]:
    """What of it most other samples' targets do not say, run by run of its tokens."""
    ids = targets.ids[label.start : label.stop]
    tokens, others = distinct(ids), ~label.members
    at = np.flatnonzero(np.isin(targets.ids, tokens) & others[targets.sample])
    number = np.searchsorted(tokens, targets.ids[at])
    is_common = n_distinct(number, targets.sample[at], len(tokens)) >= _COMMON * others.sum()
    is_own = ~is_common[np.searchsorted(tokens, ids)]
    runs = np.split(ids, np.flatnonzero(np.diff(is_own)) + 1)
    first = 0 if is_own[0] else 1
    further = [one for one in runs[1 - first :: 2] if _is_rarer(one, label, targets)]
    return [*runs[first::2], *further]


def _is_rarer(ids: Ints, label: Label, targets: Stream) -> bool:
    """Whether most other samples say this less often than the members do.

    Beside a name that is copied an exchanged value may be one that most targets have elsewhere.
    """
    counts = n_of_gram(targets, ids.tolist())
    as_often = counts[~label.members] >= np.median(counts[label.members])
    return bool(as_often.sum() < _COMMON * len(as_often))
