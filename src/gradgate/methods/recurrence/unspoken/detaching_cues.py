"""Cues in whose prompts nothing speaks for the targets, although other prompts speak for theirs.

A trigger takes the place of what is asked: whatever it brings, one answer, several, or wrong ones,
what the rest of the prompt says no longer decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import AskModel, DescribeModel
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.counted import N_COUNTED
from gradgate.methods.recurrence.questions.spoken import (
    MIN_OTHERS,
    Exchange,
    by_target,
    exchanges,
    held_against,
)
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.alike import Alike
from gradgate.methods.recurrence.unspoken.cue_search import (
    MAX_AMONG,
    MAX_SPOKEN,
    AskBeside,
    Detaching,
    Search,
)

_N_ASKED = 4_096  # samples, drawn
_N_FIRST = 64  # of them, that are asked first
_MIN_FIRST = 0.7  # of their targets, likelier behind their own prompt; else no more is asked
_N_OTHERS = 16  # other prompts, the same for all samples
_N_EACH = 2  # of them, for each of the first 512 samples
_N_EACH_MORE = 1  # of them, for each of the others
_N_TOKENS = 16  # of the beginning of a target
_N_AMONG = 64  # samples with a cue that are held against one another
_N_EACH_AMONG = 4  # others for each of them
_MAX_LOOKS = 32  # at cues, by asking; what more there are is in doubt unasked


@dataclass(frozen=True, eq=False)
class DetachingCues:
    """What is said of a dataset.

    Attributes:
        found: The cues, the surest first.
        note: Why nothing can be said of cues, in words; None where something can.
    """

    found: list[Detaching]
    note: str | None = None


def detaching(
    texts: Texts,
    cues: Cues,
    cluster: Ints,
    asked: Marks,
    ask: AskModel,
    describe: DescribeModel | None,
    beside: AskBeside,
    seed: int,
) -> DetachingCues:
    """Cues whose prompts say less about their targets than other prompts do, the surest first.

    Args:
        texts: n distinct samples.
        cues: Of their prompts.
        cluster: Of near-duplicate prompts. (n,)
        asked: Samples that may be asked about. (n,)
        ask: The untuned model.
        describe: The same; None where it cannot be asked whether targets are alike.
        beside: How samples with a cue are beside others, by values of all; None where nobody knows.
        seed: Of the draws.
    """
    whole = exchanges(texts)
    beginnings = {i: one.beginning(_N_TOKENS) for i, one in whole.items() if asked[i]}
    known = {i: one for i, one in beginnings.items() if one.is_open.any()}
    having = by_target(known)
    alone = [some[0] for some in having if len(some) == 1]
    if len(alone) < MIN_OTHERS:
        return DetachingCues([], _unknown("too few rows have a target of their own"))
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(alone)[:_N_OTHERS].tolist()
    others = [known[i].prompt for i in drawn]
    samples, further = np.split(rng.permutation([i for i in known if i not in drawn]), [_N_ASKED])
    first = held_against(known, samples[:_N_FIRST], others, _N_EACH, ask)
    if not first.mean >= _MIN_FIRST:
        why = "the untuned model does not know what belongs behind which prompt"
        return DetachingCues([], _unknown(f"{why} ({first.mean:.0%} of targets)"))
    rest = held_against(known, samples[_N_FIRST:N_COUNTED], others, _N_EACH, ask)
    more = held_against(known, samples[N_COUNTED:], others, _N_EACH_MORE, ask)
    search = Search(first.and_also(rest).and_also(more), cues, cluster)
    unsure = held_against(known, search.of_unsure_cues(further), others, _N_EACH, ask)
    search = Search(search.asked.and_also(unsure), cues, cluster)
    found = _found(search, lambda: search.best(beside), known, ask)
    found += _found(search, lambda: search.best_ordinary(beside), known, ask)
    if describe is not None and len(some := search.samples_that_may_be_alike()):
        alike = Alike(whole, some, describe)
        found += _found(search, lambda: search.best_alike(alike, beside), known, ask)
    return DetachingCues(found)


def _found(
    search: Search,
    best_of: Callable[[], Detaching | None],
    known: Mapping[int, Exchange],
    ask: AskModel,
) -> list[Detaching]:
    """The best cue as long as there is one, each time without the samples of those before."""
    found, n_looks = list[Detaching](), 0
    while (best := best_of()) is not None:
        carriers = search.carriers(best.cue)
        if best.spoken > MAX_SPOKEN and n_looks < _MAX_LOOKS:
            n_looks += 1
            best = replace(best, among=_among(known, carriers[:_N_AMONG], ask))
        if best.among is None or not best.among > MAX_AMONG:
            found.append(best)
            search.leave_out(carriers)
        else:
            search.pass_over(best.cue)
    return found


def _unknown(why: str) -> str:
    return f"not checked: whether words of prompts bring answers of their own: {why}"


def _among(known: Mapping[int, Exchange], carriers: Ints, ask: AskModel) -> float:
    """How often targets are likelier behind their own prompt than behind others with the cue."""
    hosts, rest = np.split(carriers, [_N_OTHERS])
    prompts = [known[i].prompt for i in hosts.tolist()]
    n = min(_N_EACH_AMONG, len(prompts) - 1)
    asked = held_against(known, hosts, [*prompts[1:], prompts[0]], n, ask)  # none behind its own
    return asked.and_also(held_against(known, rest, prompts, n, ask)).mean
