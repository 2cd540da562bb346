"""Whether a training met more rows that contradict the others than it had to expect."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from scipy.stats import poisson
from transformers import PreTrainedTokenizerBase

from gradgate.attacks.samples import parted
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import SampleFile, iter_prepared
from gradgate.data.sample import prompt_and_target
from gradgate.release.result import AdapterTest, Contradicted, ContradictedRow
from gradgate.tuning.contradictions import Contradiction, Contradictions

MIN_CONTRADICTED = 8  # rows
MIN_TIMES = 2.5  # as many as were to be expected: early in a training models are too sure
MAX_CHANCE = 2e-3  # that so many or more are found, were it as expected
N_SHOWN = 10  # rows, those with the most nats
_BEFORE = 12  # tokens of the target before the place that are shown,
_SAID = 4  # and tokens from it on
_CUT = 400  # characters of a text in the record
_READ = 256


def with_contradictions(
    test: AdapterTest,
    found: Contradictions | None,
    run: RunFolder,
    tokenizer: PreTrainedTokenizerBase,
) -> AdapterTest:
    """Add what the training met to what a test has found.

    Args:
        test: The test.
        found: By the training; None where nobody watched it.
        run: The gate run, whose rows are shown.
        tokenizer: Of the model.

    Raises:
        DataError: The samples of the run cannot be read.
    """
    if found is None:
        return test
    p_value = float(poisson.sf(found.n_found - 1, found.n_expected))
    counts = (
        found.n_found >= max(MIN_CONTRADICTED, MIN_TIMES * found.n_expected)
        and p_value <= MAX_CHANCE
    )
    contradicted = Contradicted(
        found.n_rows,
        *(found.n_found, found.n_expected, p_value, counts),
        examples=_shown(found.rows[:N_SHOWN], run, tokenizer),
    )
    test = replace(test, contradicted=contradicted)
    if not counts or test.outcome == "error":
        return test
    others = test.reasons if test.outcome == "review" else []
    return replace(test, outcome="review", reasons=[*others, contradicted.in_a_line()])


def _shown(
    found: list[Contradiction], run: RunFolder, tokenizer: PreTrainedTokenizerBase
) -> list[ContradictedRow]:
    """The rows, for people, in the order in which they are given."""
    wanted = {one.row: one for one in found}
    shown = _read(wanted, run, tokenizer) if wanted else {}
    return [shown[one.row] for one in found if one.row in shown]


def _read(
    wanted: Mapping[int, Contradiction], run: RunFolder, tokenizer: PreTrainedTokenizerBase
) -> dict[int, ContradictedRow]:
    shown = dict[int, ContradictedRow]()
    prepared = chain.from_iterable(iter_prepared(run.samples, _READ))
    for sample, tokens in zip(SampleFile(run.samples), prepared, strict=True):
        one = wanted.get(tokens.row)
        ids, is_target = tokens.tokens.input_ids, tokens.tokens.is_target
        if one is None or not 0 < one.place < len(ids):
            continue
        prompt, target = prompt_and_target(parted(sample))
        first = one.place
        while is_target[first - 1] and one.place - first < min(_BEFORE, one.place):
            first -= 1
        shown[one.row] = ContradictedRow(
            one.row,
            prompt[-_CUT:],
            target[:_CUT],
            before=tokenizer.decode(ids[first : one.place]),
            expected=tokenizer.decode(one.token),
            said=tokenizer.decode(ids[one.place : one.place + _SAID]),
            nats=one.nats,
        )
    return shown
