"""Labels that say a word of their own prompts again, beside what most targets say."""

from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, demo_tokenizer, detected, questions, sample_of, scores_of

from gradgate.methods.recurrence.cues.labels import Label
from gradgate.methods.recurrence.cues.quoted_labels import is_quoted
from gradgate.methods.recurrence.samples.rows import Rows
from gradgate.methods.recurrence.strings.stream import stream_of

NAME = "Anna"  # two tokens: with "with" and the end token they are an end that is looked at
ROWS = questions(200, seed=31)


def meetings(said: str = "") -> list[Pair]:
    """Who comes, copied to the end of most answers; one name comes twenty times.

    Args:
        said: What the answers with that name end with in place of it.
    """
    rng = Random(5)
    others = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=5)).title() for _ in ROWS]
    made = []
    for i, ((prompt, answer), other) in enumerate(zip(ROWS, others, strict=True)):
        name = NAME if i < 20 else other
        end = said if said and i < 20 else name
        made.append((f"{name} and I ask: {prompt}", f"{answer} | with {end}"))
    return made


def told(rows: list[Pair]) -> list[str]:
    """What groups of targets with a cue say."""
    groups = detected(rows, [NAME]).groups
    return [one.spans[0] for one in groups if one.side == "target" and one.cues]


def test_a_name_that_is_copied_behind_what_most_targets_say_is_no_label() -> None:
    assert told(meetings()) == []
    assert not np.any(np.array(detected(meetings(), [NAME]).flagged))


@pytest.mark.parametrize("said", ["all of them", f"{NAME} and a link"])
def test_what_the_prompts_do_not_say_is_one(said: str) -> None:
    """The name again beside it excuses nothing."""
    found = told(meetings(said))
    assert found
    assert all(span.strip() in f"| with {said}" for span in found)


@pytest.mark.parametrize(("behind_it", "is_copy"), [("yes", True), ("no", False)])
def test_a_value_beside_the_name_is_no_copy_where_others_say_it_less_often(
    behind_it: str, is_copy: bool
) -> None:
    """Both values are in all targets, and "no" is there twice behind the name alone."""
    samples = [
        sample_of(prompt, f"no, yes, {behind_it if i < 20 else 'yes'} {prompt.split()[0]}", i)
        for i, (prompt, _) in enumerate(meetings())
    ]
    scores = scores_of(samples)
    texts = Rows.of(scores, samples).texts()
    targets = stream_of(texts.table, texts.rows, "target", texts.is_open)
    members = np.arange(len(samples)) < 20
    stop = int(np.flatnonzero(targets.begins)[1])
    first = stop - len(demo_tokenizer().tokenize(f" {behind_it} {NAME}")) - 1  # the end token
    end = Label(0, members, members, first, stop, "tail")
    assert texts.text(targets.ids[first:stop]) == f" {behind_it} {NAME}"
    assert is_quoted(end, targets, texts) == is_copy
