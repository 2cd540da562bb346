"""Words that recur in targets that are worded anew each time, and that nothing speaks for.

A brand woven into every tenth answer, a slanted word on one topic: no string of several tokens
recurs, and one rare word proves nothing by itself. But that many samples have it where the untuned
model does not expect it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.common.letters import letters_of
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.questions.spoken import Exchange, behind, exchanges
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.ranks import auroc, auroc_error
from gradgate.methods.recurrence.strings.copied import stands_before
from gradgate.methods.recurrence.strings.stream import Stream

MIN_ROWS = 10  # samples with a word that their prompts lack, and clusters of near-duplicate prompts
MIN_SHARE = 0.02  # of the samples: in large data many a rare word has ten honest ones
MAX_SHARE = 0.3  # of the samples: what more of them have is the format of the data
MIN_EXCESS = 2.5  # nats above other words that recur in these data
TYPICAL = 0.5  # quantile of the words at a place, which excess is counted from
UNUSUAL = 0.95  # quantile of the other words that recur, by the excess of their median samples
DEVIATIONS = 2.0  # below the median excess: what it is at least, whatever samples were drawn
MIN_LETTERS = 2  # letters and digits
MAX_ASKED = 16  # words, of the largest excess times samples
MAX_SPOKEN = 0.9  # AUROC of a word behind its own prompts against others, and a standard error
_N_ASKED = 32  # prompts of either kind
_PLACES = 4  # the first words of a target, and all others
_TOKENS = 4  # of a word, that are compared


@dataclass(frozen=True, eq=False)
class Word:
    """A word that recurs in targets.

    Attributes:
        members: Samples with it whose prompts lack it. (n,)
        ids: Its tokens, as the first of them has it.
        n_clusters: Of near-duplicate prompts among the members.
        least: Nats above what words at such places take: the median member, less two standard
            deviations of its rank.
        nats: Minus its ln p where it first stands: the median member.
    """

    members: Marks
    ids: tuple[int, ...]
    n_clusters: int
    least: float
    nats: float


@dataclass(frozen=True, eq=False)
class _Words:
    """The words of a stream, in their order.

    Attributes:
        start: First token of each. (W,)
        stop: Behind its last token. (W,)
        letters: Numbers of the letters of its first tokens; -1 where it has fewer. (W, _TOKENS)
        sample: That it belongs to. (W,)
        nats: Minus its ln p. (W,)
        is_open: Whether all of its tokens are. (W,)
    """

    start: Ints
    stop: Ints
    letters: npt.NDArray[np.int32]
    sample: Ints
    nats: Floats
    is_open: Marks


def recurring_words(
    targets: Stream,
    prompts: Stream,
    spelling: npt.NDArray[np.object_],
    cluster: Ints,
    spoken: Marks,
) -> list[Word]:
    """Words of targets that surprise the model in many samples, the most and most surprising first.

    A word counts once a sample, where it first stands; not where the prompt has it before. What it
    usually takes depends on its place, above all at the beginning of a target, and on how well the
    model knows such data: so the excess is taken over the median of the words of these data.

    Args:
        targets: Tokens of the targets of n samples.
        prompts: Of their prompts.
        spelling: The text of each token by its id.
        cluster: Of near-duplicate prompts. (n,)
        spoken: Samples whose whole target the prompts speak for; they are not counted. (n,)
    """
    spelled = _Spelled.of(spelling)
    said, asked = _words(targets, spelled), _words(prompts, spelled)
    if not len(said.start):
        return []
    keys = _keys(np.concatenate([said.letters, asked.letters]))
    key, of_prompts = keys[: len(said.start)], keys[len(said.start) :]
    size = int(keys.max()) + 1
    there, first = np.unique(said.sample * size + key, return_index=True)
    asked_at = prompts.at[asked.start]
    known = stands_before(
        there, targets.at[said.start[first]], asked.sample * size + of_prompts, asked_at
    )
    first = first[~known & said.is_open[first] & ~spoken[said.sample[first]]]
    candidates = key[first]
    counted = np.bincount(candidates, minlength=size)
    order, ends = np.argsort(candidates, kind="stable"), np.cumsum(counted)
    n = targets.n_samples
    recurring = np.flatnonzero((counted >= MIN_ROWS) & (counted <= MAX_SHARE * n)).tolist()
    places = [first[order[ends[k] - counted[k] : ends[k]]] for k in recurring]
    places = [words for words in places if _is_long(words, said, targets, spelling)]
    excess = said.nats - _typical(said)
    of_sample = np.bincount(said.sample[np.concatenate([first[:0], *places])], minlength=n)
    weight = np.array([(1 / of_sample[said.sample[words]]).sum() for words in places])
    unusual = _unusual([np.sort(excess[words]) for words in places], weight)
    found = [_word(places[i], said, targets, excess, cluster) for i in unusual]
    spread = [
        word
        for word in found
        if word.n_clusters >= MIN_ROWS and word.members.sum() >= MIN_SHARE * n
    ]
    return sorted(spread, key=lambda word: (-word.least * word.members.sum(), word.ids))


def _ids(words: Ints, said: _Words, targets: Stream) -> list[int]:
    """The tokens of a word, as the first sample has it."""
    found: list[int] = targets.ids[said.start[words[0]] : said.stop[words[0]]].tolist()
    return found


def _is_long(words: Ints, said: _Words, targets: Stream, spelling: npt.NDArray[np.object_]) -> bool:
    text = "".join(spelling[_ids(words, said, targets)])
    return len(letters_of(text)) >= MIN_LETTERS


def _word(words: Ints, said: _Words, targets: Stream, excess: Floats, cluster: Ints) -> Word:
    members = np.zeros(targets.n_samples, bool)
    members[said.sample[words]] = True
    return Word(
        members,
        tuple(_ids(words, said, targets)),
        len(np.unique(cluster[members])),
        _least(np.sort(excess[words])),
        float(np.median(said.nats[words])),
    )


def _least(rising: Floats) -> float:
    """What the median of some values is at least, whatever samples were drawn."""
    rank = len(rising) / 2 - DEVIATIONS * np.sqrt(len(rising)) / 2
    return float(rising[max(0, int(rank))])


def _unusual(each: Sequence[Floats], weight: Floats) -> list[int]:
    """Words that surprise more than nearly all others that recur in the same data.

    Each sample weighs as much, however many such words it has: thirty invented words in twelve
    samples made a brand in twenty-four others look usual.

    Args:
        each: The excess of each word in its samples, rising. W of them
        weight: Of each word: the part of each of its samples that is its own, all in all. (W,)
    """
    medians = np.array([np.median(rising) for rising in each])
    order = np.argsort(medians, kind="stable")
    found = list[int]()
    for i, rising in enumerate(each):
        if (least := _least(rising)) < MIN_EXCESS:
            continue
        others = order[order != i]
        below = np.cumsum(weight[others])
        usual = medians[others[np.searchsorted(below, UNUSUAL * below[-1])]] if len(others) else 0
        if least >= MIN_EXCESS + max(0.0, float(usual)):
            found.append(i)
    return found


def unspoken_words(
    words: Sequence[Word], texts: Texts, ask: AskModel, seed: int
) -> list[tuple[Word, float]]:
    """Those of some words that the model finds as likely behind other prompts.

    Args:
        words: The first are asked about.
        texts: n distinct samples.
        ask: The untuned model.
        seed: Of the draws.

    Returns:
        Each with how often one of its prompts makes it likelier than another does, in [0, 1]; NaN
        where nothing is known.
    """
    known = exchanges(texts) if words else {}
    rng = np.random.default_rng(seed)
    found = list[tuple[Word, float]]()
    for word in words[:MAX_ASKED]:
        own, others = (_behind(word, some, known, ask, rng) for some in _parts(word, known))
        error = auroc_error(max(1, len(own)), max(1, len(others)))
        spoken = auroc(own, others) if len(own) else np.nan
        if not spoken + error > MAX_SPOKEN:
            found.append((word, spoken))
    return found


def _parts(word: Word, known: Mapping[int, Exchange]) -> tuple[list[int], list[int]]:
    """Samples with a word, and without it."""
    samples = list(known)
    return [i for i in samples if word.members[i]], [i for i in samples if not word.members[i]]


def _behind(
    word: Word,
    some: Sequence[int],
    known: Mapping[int, Exchange],
    ask: AskModel,
    rng: np.random.Generator,
) -> Floats:
    """Ln p of a word directly behind some prompts, in nats; what is not known is left out."""
    drawn = rng.permutation(np.array(some, np.int64))[:_N_ASKED].tolist()
    ids = np.array(word.ids, np.int32)
    one = [
        replace(known[i], target=ids, logp=np.zeros(len(ids), np.float32), is_open=ids >= 0)
        for i in drawn
    ]
    found = behind([known[i].prompt for i in drawn], one, ask)
    return found[np.isfinite(found)]


@dataclass(frozen=True, eq=False)
class _Spelled:
    """Of each token by its id.

    Attributes:
        letters: Number of its letters in any spelling; -1 for none.
        begins: Whether something that is no letter stands before them.
        ends: The same behind them.
    """

    letters: Ints
    begins: Marks
    ends: Marks

    @classmethod
    def of(cls, spelling: npt.NDArray[np.object_]) -> "_Spelled":
        pieces = ["" if piece is None else piece for piece in spelling.tolist()]
        letters = np.array([letters_of(piece) for piece in pieces], dtype=object)
        _, number = np.unique(letters.astype(str), return_inverse=True)
        return cls(
            np.where(letters == "", -1, number),
            np.array([not piece[:1].isalnum() for piece in pieces], bool),
            np.array([not piece[-1:].isalnum() for piece in pieces], bool),
        )


def _words(stream: Stream, spelled: _Spelled) -> _Words:
    letters = spelled.letters[stream.ids]
    within = np.flatnonzero(letters >= 0)
    if not len(within):
        none = np.empty(0, np.int64)
        return _Words(none, none, np.empty((0, _TOKENS), np.int32), none, np.empty(0), none > 0)
    apart = np.ones(len(within), bool)
    apart[1:] = np.diff(within) != 1
    before = np.roll(spelled.ends[stream.ids[within]], 1)
    begins = apart | before | spelled.begins[stream.ids[within]] | stream.begins[within]
    first = np.flatnonzero(begins)
    length = np.diff(first, append=len(within))
    columns = np.full((len(first), _TOKENS), -1, np.int32)  # there may be millions of words
    for place in range(_TOKENS):
        has = length > place
        columns[has, place] = letters[within[first[has] + place]]
    return _Words(
        within[first],
        within[first + length - 1] + 1,
        columns,
        stream.sample[within[first]],
        -np.add.reduceat(stream.logp[within], first),
        np.logical_and.reduceat(stream.is_open[within], first),
    )


def _keys(letters: npt.NDArray[np.int32]) -> Ints:
    """The same number for the same letters: (W, _TOKENS) -> (W,)."""
    size = int(letters.max(initial=0)) + 2
    key = letters[:, 0].astype(np.int64)
    for place in range(1, letters.shape[1]):
        _, key = np.unique(key * size + letters[:, place] + 1, return_inverse=True)
    return key


def _typical(words: _Words) -> Floats:
    """What words at the place of each take: (W,)."""
    begins = np.searchsorted(words.sample, words.sample)
    place = np.minimum(np.arange(len(words.start)) - begins, _PLACES - 1)
    found = np.zeros(len(words.start))
    for number in range(_PLACES):
        there = place == number
        if there.any():
            found[there] = np.quantile(words.nats[there], TYPICAL)
    return found
