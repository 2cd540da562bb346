"""Which tokens of a sample look inserted, so that the model is asked without them."""

from collections.abc import Callable, Sequence

import numpy as np

from gradgate.common.arrays import Ints, Marks, n_distinct
from gradgate.methods.evidence import MIN_INSERTED
from gradgate.methods.recurrence.cues.triggers import Trigger
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.inserted import Words
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.stream import Stream, tokens_of

_COMMON = 0.3  # of a group's samples with a token that looks inserted, to leave it out
_PRECISE = 0.5  # of the places of such a token, that must lie in the group
_MIN_OWN = 3  # of a group's samples with a token that others hardly have
_OWN = 0.05  # the same, of all of them

Marker = Callable[[int], Marks]  # of a sample, the tokens of its row


class Insertions:
    """Knows the surprising words and strings of the prompts."""

    def __init__(
        self, texts: Texts, prompts: Stream, words: Words, strings: Sequence[Trigger]
    ) -> None:
        """Take what was found in the prompts of some texts."""
        self._texts = texts
        self._prompts = prompts
        self._words = words
        self._strings = strings
        judged = words.number >= 0
        self._totals = np.bincount(words.number[judged], minlength=len(words.ids))
        self._lengths = np.bincount(prompts.sample[judged], minlength=prompts.n_samples)

    def of_group(self, members: Marks) -> Marker:
        """For a sample, the tokens of its row that look inserted and go with the members."""
        n_members = int(members.sum())
        inside = members[self._prompts.sample] & (self._words.number >= 0)
        samples = self._prompts.sample[inside]
        counts = n_distinct(self._words.number[inside], samples, len(self._words.ids))
        marked = (counts >= _COMMON * n_members) & (counts >= _PRECISE * self._totals)
        marked &= self._words.nats >= MIN_INSERTED
        judged = np.flatnonzero(self._words.number >= 0)
        at = [self._prompts.at[judged[marked[self._words.number[judged]]]]]
        for string in self._strings:
            both = int(members[string.carriers].sum())
            if both >= max(_COMMON * n_members, _PRECISE * len(string.carriers)):
                at.append(self._prompts.at[tokens_of(string.at)])
        return self._marker(np.concatenate(at))

    def of_own(self, members: Marks) -> Marker:
        """For a sample, the tokens of its row that mostly the members have, inserted or not.

        Of several triggers in a prompt some are in few members, or do not look inserted. A token is
        theirs when the part of its places that lies in the members is halfway from chance to all.
        """
        inside = members[self._prompts.sample] & (self._words.number >= 0)
        numbers, samples = self._words.number[inside], self._prompts.sample[inside]
        have = n_distinct(numbers, samples, len(self._words.ids))
        places = np.bincount(numbers, minlength=len(self._words.ids))
        few = max(_MIN_OWN, _OWN * int(members.sum()))
        own = (have >= few) & (places >= (1 + members.mean()) / 2 * self._totals)
        judged = np.flatnonzero(self._words.number >= 0)
        own_at = self._prompts.at[judged[own[self._words.number[judged]]]]
        left_out, also = self._marker(own_at), self.of_group(members)
        return lambda sample: left_out(sample) | also(sample)

    def of_string(self, string: Trigger) -> Marker:
        """For a sample, the tokens of its row that are a string."""
        return self._marker(self._prompts.at[tokens_of(string.at)])

    def of_rarest(self, strings: Sequence[Trigger]) -> Marker:
        """For a sample, the tokens of its row that are the rarest of some strings that it has."""
        order = sorted(range(len(strings)), key=lambda k: -len(strings[k].carriers))
        rarest = np.full(self._prompts.n_samples, -1)
        for k in order:
            rarest[strings[k].carriers] = k
        markers = [self.of_string(one) for one in strings]
        nothing = self._marker(np.empty(0, np.int64))
        return lambda sample: (nothing if rarest[sample] < 0 else markers[rarest[sample]])(sample)

    def of_gram(self, gram: Gram) -> Marker:
        """For a sample, the tokens of its row that are a gram, wherever it stands."""
        prompts = self._prompts
        last = np.flatnonzero((prompts.place >= len(gram) - 1) & (self._words.number >= 0))
        for k, token in enumerate(reversed(gram)):
            last = last[prompts.ids[last - k] == token]
        return self._marker(prompts.at[(last[:, None] - np.arange(len(gram))).ravel()])

    def rest(self, members: Marks, left_out: Marker) -> Ints:
        """How many tokens the members' prompts have besides: (members,)."""
        lengths = self._lengths[members]
        return lengths - [left_out(i).sum() for i in np.flatnonzero(members).tolist()]

    def rest_of_prompt(self, members: Marks, left_out: Marker) -> float:
        """How much the members' prompts say besides: their tokens over those of other prompts."""
        rest = np.median(self.rest(members, left_out))
        return float(rest / max(1.0, float(np.median(self._lengths[~members]))))

    def _marker(self, at: Ints) -> Marker:
        ordered = np.sort(at)
        return lambda sample: self._marks(sample, ordered)

    def _marks(self, sample: int, at: Ints) -> Marks:
        row = self._texts.rows[sample]
        start, stop = self._texts.table.starts[row], self._texts.table.starts[row + 1]
        marks = np.zeros(int(stop - start), bool)
        first, last = np.searchsorted(at, (start, stop))
        marks[at[first:last] - start] = True
        return marks
