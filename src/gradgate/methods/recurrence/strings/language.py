"""What the mined samples say of grams, so that other samples can be held against them."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks, n_distinct
from gradgate.methods.recurrence.strings.copied import (
    FORMAT_FREQUENCY,
    follows_expected,
    is_copied,
    within_grams,
)
from gradgate.methods.recurrence.strings.inserted import TEMPLATE_FREQUENCY
from gradgate.methods.recurrence.strings.memory import ORDER, Memory, log_of_longer, longer
from gradgate.methods.recurrence.strings.packed import contexts, doubles, found_at, singles, triples
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import Segments, gains, surprising_segments


@dataclass(frozen=True, eq=False)
class Templates:
    """Grams of one, two and three tokens of prompts that belong to the template of the data."""

    grams: tuple[Ints, Ints, Ints]

    @classmethod
    def of(cls, prompts: Stream) -> Self:
        """Those that almost all samples have; see `inserted.is_template`."""
        least = TEMPLATE_FREQUENCY * prompts.n_samples
        one, two, three = (_common(k(prompts), prompts, least) for k in (singles, doubles, triples))
        return cls((one, two, three))

    def marks(self, prompts: Stream) -> Marks:
        """Tokens of other prompts that are of these grams: (N,)."""
        found = np.zeros(prompts.n, bool)
        for k, (keys, known) in enumerate(
            zip((singles, doubles, triples), self.grams, strict=True)
        ):
            last = found_at(keys(prompts), known) >= 0
            for back in range(k + 1):
                found[np.flatnonzero(last & (prompts.place >= back)) - back] = True
        return found


def _common(keys: Ints, stream: Stream, least: float) -> Ints:
    different, number = np.unique(keys, return_inverse=True)
    said = stream.is_said
    return different[n_distinct(number[said], stream.sample[said], len(different)) >= least]


@dataclass(frozen=True, eq=False)
class Language:
    """Grams of the targets of the mined samples, by clusters of near-duplicate prompts.

    Attributes:
        grams: Packed, rising. (G,)
        support: Clusters that have each. (G,)
        longer: Numbers of grams of six tokens, rising; clusters that have each. (L,) twice
        before: The same of the five tokens before. (B,) twice
        is_format: Which of them almost all samples have. (G,)
        contexts: Packed, rising. (C,)
        n_contexts: Clusters that have each. (C,)
        tokens: Ids, rising. (V,)
        log_frequency: Of the samples with the token over all tokens. (V,)
    """

    grams: Ints
    support: Ints
    longer: tuple[Ints, Ints]
    before: tuple[Ints, Ints]
    is_format: Marks
    contexts: Ints
    n_contexts: Ints
    tokens: Ints
    log_frequency: Floats

    @classmethod
    def of(cls, targets: Stream, cluster: Ints) -> Self:
        """Count the grams of the mined samples."""
        of_token = cluster[targets.sample]
        grams, gram = np.unique(triples(targets), return_inverse=True)
        before, context = np.unique(contexts(targets), return_inverse=True)
        tokens, token = np.unique(targets.ids, return_inverse=True)
        inside, long_gram, long_context = longer(gram, context, targets)
        n_samples = n_distinct(gram, targets.sample, len(grams))
        frequency = n_distinct(token, targets.sample, len(tokens)) / max(1, targets.n)
        return cls(
            grams,
            n_distinct(gram, of_token, len(grams)),
            _counted(long_gram, of_token[inside]),
            _counted(long_context, of_token[inside]),
            n_samples >= FORMAT_FREQUENCY * targets.n_samples,
            before,
            n_distinct(context, of_token, len(before)),
            tokens,
            np.log(frequency),
        )

    def segments(self, targets: Stream, prompts: Stream) -> tuple[Segments, Ints]:
        """The surprising segments of other samples, none of which was counted.

        Returns:
            The segments, and where the gram of each token stands in `grams`; -1 for unknown ones.
            (N,)
        """
        gram = found_at(triples(targets), self.grams)
        context = found_at(contexts(targets), self.contexts)
        token = found_at(targets.ids, self.tokens)
        support = np.where(gram >= 0, self.support[gram], 0) if len(self.grams) else gram + 1
        others = np.where(context >= 0, self.n_contexts[context], 1) if len(gram) else support
        with np.errstate(divide="ignore"):
            log_q = np.log(support / others)
        frequency = np.where(token >= 0, self.log_frequency[token], -np.inf)
        memory = Memory(
            log_q, self._longer(gram, context, targets), support, gram, context, frequency
        )
        known = is_copied(targets, prompts) | follows_expected(targets)
        known |= within_grams((gram >= 0) & self.is_format[gram], targets)
        gain = gains(targets, memory, known, by_longer=True)
        return surprising_segments(gain, targets.begins, targets.sample), gram

    def _longer(self, gram: Ints, context: Ints, targets: Stream) -> Floats:
        inside = np.flatnonzero(targets.place >= 2 * ORDER - 1)
        inside = inside[(gram[inside] >= 0) & (gram[inside - ORDER] >= 0)]
        earlier = gram[inside - ORDER]
        found = np.full(targets.n, -np.inf)
        found[inside] = log_of_longer(
            _looked_up(self.longer, earlier * len(self.grams) + gram[inside]),
            _looked_up(self.before, earlier * len(self.contexts) + context[inside]),
        )
        return found


def _counted(keys: Ints, cluster: Ints) -> tuple[Ints, Ints]:
    """Different keys, rising, and the clusters with each."""
    different, number = np.unique(keys, return_inverse=True)
    return different, n_distinct(number, cluster, len(different))


def _looked_up(counted: tuple[Ints, Ints], keys: Ints) -> Ints:
    """Clusters with each key; 0 for unknown ones."""
    at = found_at(keys, counted[0])
    return np.where(at >= 0, counted[1][at], 0) if len(counted[0]) else at + 1
