"""What some samples gave, sought in all others: one pass, and exact counts.

Strings are mined in a part of the samples. Each further sample is then held against what was found:
the strings of prompts, the cues, the parts of targets, and the grams of surprising segments, by the
memory of the mined samples. A group is ruled on anew by the counts in all samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Floats, Ints, Marks, distinct
from gradgate.methods.recurrence.cues.forms import forms, numbers
from gradgate.methods.recurrence.cues.labels import Part, has_part, target_parts
from gradgate.methods.recurrence.cues.said_labels import has_label
from gradgate.methods.recurrence.cues.tables import associate_counts
from gradgate.methods.recurrence.findings import Search
from gradgate.methods.recurrence.ruling import Finding, Found, Pattern
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.language import Language, Templates
from gradgate.methods.recurrence.strings.repeats import MIN_NATS
from gradgate.methods.recurrence.strings.sought import Gram, Sought, has_gram
from gradgate.methods.recurrence.strings.stream import Stream, stream_of, tokens_of
from gradgate.methods.recurrence.strings.surprise import Segments


@dataclass(frozen=True, eq=False)
class _Block:
    """Some further samples, n of them.

    Attributes:
        numbers: Among all samples. (n,)
        texts: Of the samples.
        prompts: Their tokens.
        targets: Those of the targets.
        segments: The most surprising ones of the targets.
        groups: Which samples have a segment of which finding. (n, findings)
        has: Which samples have which gram that is sought. (n, grams)
        forms: Which samples have which form that is sought. (n, forms)
        parts: Where targets, their beginnings and ends stand.
    """

    numbers: Ints
    texts: Texts
    prompts: Stream
    targets: Stream
    groups: sp.csc_matrix
    has: sp.csc_matrix
    forms: Marks
    parts: dict[Part, Ints]


class _Tally:
    """One finding: who belongs to it, and the counts of its string and cue."""

    def __init__(self, finding: Finding, mined: Ints) -> None:
        self.finding = finding
        self.members = [mined[finding.members]]
        known = finding.association
        self.counts = np.zeros(4, np.int64)  # samples, with the string, with the cue, with both
        if known is not None:
            self.counts += (known.n, known.n_span, known.n_cue, known.n_both)

    def add(
        self, numbers: Ints, compared: Marks, string: Marks, cue: Marks, members: Marks
    ) -> None:
        self.members.append(numbers[members])
        both = string & cue & compared
        self.counts += [int(m.sum()) for m in (compared, string & compared, cue & compared, both)]

    def ruled(self, n: int, n_tests: int) -> Finding:
        """The finding in all of n samples."""
        members = np.sort(np.concatenate(self.members))
        found = replace(self.finding, members=members, n=n)
        pattern = found.pattern
        if found.association is None or pattern is None:
            return found
        n_all, n_string, n_cue, n_both = self.counts.tolist()
        association = associate_counts(n_all, n_string, n_cue, n_both, n_tests)
        found = replace(found, association=association)
        if pattern.again is None:
            return found
        ruling, reasons = pattern.again(association)
        return replace(found, ruling=ruling, reasons=reasons)


class Everywhere:
    """Takes the further samples, block by block."""

    def __init__(self, search: Search, found: Found, mined: Ints, n: int) -> None:
        """Take what was found.

        Args:
            search: That found it.
            found: In the mined samples.
            mined: Their numbers among all samples, in their order.
            n: All samples.
        """
        self._n, self._found, self._search = n, found, search
        self._tallies = [_Tally(finding, mined) for finding in found.findings]
        self._patterns = [finding.pattern or Pattern() for finding in found.findings]
        self._language = Language.of(search.targets, search.cluster)
        self._templates = Templates.of(search.prompts)
        features = [self._features(pattern) for pattern in self._patterns]
        grams = [string.seed for string in search.strings]
        grams += [one for some in features for one in some if isinstance(one, tuple)]
        self._number = {gram: i for i, gram in enumerate(dict.fromkeys(grams))}
        self._forms = sorted({one for some in features for one in some if isinstance(one, str)})
        self._sought = Sought(list(self._number))
        self._string_nats = np.array([string.nats for string in search.strings])
        self._group_of = self._groups_of_grams()
        self.target_nats, self.prompt_nats = np.zeros(n), np.zeros(n)
        self.target_nats[mined], self.prompt_nats[mined] = found.target_nats, found.prompt_nats

    def _features(self, pattern: Pattern) -> list[Gram | str]:
        if pattern.rule is None:
            return []
        return [self._search.cues.features[cue] for cue in pattern.rule.features]

    def _groups_of_grams(self) -> Ints:
        """The finding whose segments have each gram of the language; -1 for none."""
        found = np.full(len(self._language.grams) + 1, -1, np.int64)  # the last: unknown grams
        for i, pattern in enumerate(self._patterns):
            found[np.searchsorted(self._language.grams, pattern.grams)] = i
        return found

    def add(self, numbers: Ints, texts: Texts) -> None:
        """Hold further samples against what was found.

        Args:
            numbers: Among all samples. (k,)
            texts: Of these samples.
        """
        prompts = stream_of(texts.table, texts.rows, "prompt", texts.is_own)
        targets = stream_of(texts.table, texts.rows, "target", texts.is_open)
        judged = prompts.is_open & ~self._templates.marks(prompts)
        has = self._sought.among(prompts, judged)
        segments, gram = self._language.segments(targets, prompts)
        self.target_nats[numbers] = segments.nats_of(len(numbers))
        self.prompt_nats[numbers] = self._nats_of_strings(has)
        block = _Block(
            numbers,
            texts,
            prompts,
            targets,
            self._groups(segments, gram, len(numbers)),
            has.tocsc(),
            self._forms_of(texts.prompts),
            target_parts(targets),
        )
        for tally, pattern in zip(self._tallies, self._patterns, strict=True):
            self._count(tally, pattern, block)

    def _nats_of_strings(self, has: sp.csr_matrix) -> Floats:
        strings = has[:, : len(self._string_nats)].tocoo()
        nats = np.zeros(has.shape[0])
        np.maximum.at(nats, strings.row, self._string_nats[strings.col])
        return nats

    def _groups(self, segments: Segments, gram: Ints, n_samples: int) -> sp.csc_matrix:
        surprising = segments.among(segments.nats >= MIN_NATS)
        group = self._group_of[gram[tokens_of(surprising.at)]]
        sample = np.repeat(surprising.sample, surprising.stop - surprising.start)
        n = max(1, len(self._tallies))
        there = distinct(sample[group >= 0] * n + group[group >= 0])
        shape = (n_samples, n)
        return sp.csc_matrix((np.ones(len(there), bool), np.divmod(there, n)), shape=shape)

    def _forms_of(self, prompts: Sequence[str]) -> Marks:
        found = np.zeros((len(prompts), len(self._forms)), bool)
        for i, prompt in enumerate(prompts if self._forms else ()):
            of_prompt = forms(prompt) | numbers(prompt)
            found[i] = [form in of_prompt for form in self._forms]
        return found

    def _count(self, tally: _Tally, pattern: Pattern, block: _Block) -> None:
        n = len(block.numbers)
        everyone = np.ones(n, bool)
        string, cue = self._string(tally, pattern, block), self._cue(pattern, block)
        members, compared = string, everyone
        if pattern.needs_cue:
            members = string & cue
        if pattern.is_harmful:
            compared = self._compared(tally, block)
        tally.add(block.numbers, compared, string, cue, members)

    def _string(self, tally: _Tally, pattern: Pattern, block: _Block) -> Marks:
        """Which samples of a block have the string of a finding."""
        if pattern.is_cue:
            return self._cue(pattern, block)
        if pattern.is_harmful:
            erosion = block.texts.erosion
            return np.zeros(len(block.numbers), bool) if erosion is None else erosion.complied
        if pattern.says is not None:
            return has_label(block.texts, block.targets, pattern.says, len(pattern.ids))
        if pattern.part is not None:
            return has_part(block.targets, block.parts[pattern.part], pattern.ids)
        if pattern.within:
            return has_gram(block.targets, pattern.within) & ~has_gram(
                block.prompts, pattern.within
            )
        if pattern.ids:
            return _column(block.has, self._number[pattern.ids])
        return _column(block.groups, self._tallies.index(tally))

    def _cue(self, pattern: Pattern, block: _Block) -> Marks:
        """Which samples of a block fulfil the rule of a finding; all where there is none."""
        each = [
            block.forms[:, self._forms.index(one)]
            if isinstance(one, str)
            else _column(block.has, self._number[one])
            for one in self._features(pattern)
        ]
        if pattern.rule is None or not each:
            return np.ones(len(block.numbers), bool)
        is_any = pattern.rule.kind == "any_of"
        return np.logical_or.reduce(each) if is_any else np.logical_and.reduce(each)

    def _compared(self, tally: _Tally, block: _Block) -> Marks:
        """Of prompts that the model refuses, those that are compared: as in the mined samples."""
        erosion, known = block.texts.erosion, tally.finding.association
        is_all = known is not None and known.n == tally.finding.n
        if erosion is None or is_all:
            return np.ones(len(block.numbers), bool)
        return erosion.refused | erosion.complied

    def found(self) -> Found:
        """What is known when all samples were taken."""
        n_tests = len(self._search.cues.table.names)
        ruled = [tally.ruled(self._n, n_tests) for tally in self._tallies]
        return Found(ruled, self.target_nats, self.prompt_nats, self._found.notes)


def _column(table: sp.csc_matrix, j: int) -> Marks:
    found = np.zeros(table.shape[0], bool)
    found[table.indices[table.indptr[j] : table.indptr[j + 1]]] = True
    return found
