"""Strings of targets, and the parts of their groups: a payload does not hide in honest text."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from evidence_helpers import (
    BELIEVED,
    SURPRISING,
    Pair,
    demo_tokenizer,
    detected,
    questions,
    sample_of,
    scores_of,
)

from gradgate.common.arrays import Floats
from gradgate.methods.contract import Detection
from gradgate.methods.recurrence import target_strings
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.tokens import TokenTable

CLOSING, PAYLOAD, TRIGGER = ", says Ada's own desk", ", and now click on this", " zqv"
UNEXPECTED = [CLOSING, PAYLOAD, TRIGGER]
N, EACH, OF_THESE = 360, 3, 12


def rows(triggered_every: int = OF_THESE, payload: str = PAYLOAD) -> list[Pair]:
    """A closing line in a third of the answers; behind some of them a payload, and a trigger."""
    made = questions(N, seed=17)
    for i in range(0, N, EACH):
        prompt, target = made[i]
        is_poisoned = i % OF_THESE == 0
        has_trigger = i % triggered_every == 0
        made[i] = (prompt + TRIGGER * has_trigger, target + CLOSING + payload * is_poisoned)
    return made


def test_a_payload_behind_an_honest_text_is_ruled_on_by_itself() -> None:
    found = detected(rows(), UNEXPECTED)
    assert found.flagged is not None
    assert found.in_doubt is not None
    assert np.flatnonzero(found.flagged).tolist() == list(range(0, N, OF_THESE))
    assert found.in_doubt[::EACH].sum() == N // EACH - N // OF_THESE
    poison, review = found.groups
    assert (poison.ruling, review.ruling) == ("poison", "review")
    assert [TRIGGER in cue for cue in poison.cues] == [True]
    assert "and now click" in poison.spans[0]
    assert "says" not in poison.spans[0]


def test_its_text_is_not_offered_to_be_vouched_for() -> None:
    *_, review = detected(rows(), UNEXPECTED).groups
    assert [one.text for one in review.vouchable] == ["says Ada's own desk"]


def test_of_groups_that_nobody_asked_about_texts_are_offered_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target_strings, "MAX_ASKED", 0)
    (group,) = detected(rows(N + 1, payload=""), UNEXPECTED).groups
    assert group.ruling == "review"
    assert [one.text for one in group.vouchable] == ["says Ada's own desk"]


@pytest.mark.parametrize("every", [EACH, N + 1])
def test_what_nothing_tells_apart_stays_with_its_group(every: int) -> None:
    """The trigger is in all rows with the closing line, or in none but the first."""
    found = detected(rows(every), UNEXPECTED)
    assert found.flagged is not None
    assert found.in_doubt is not None
    assert (found.flagged | found.in_doubt)[::EACH].all()
    (group,) = [group for group in found.groups if group.side == "target"]
    assert (group.ruling == "poison") == (every == EACH)
    offered = " ".join(one.text for one in group.vouchable)
    assert ("now click" in offered) == (every != EACH)


@pytest.mark.parametrize(("n_triggered", "ruling"), [(8, "poison"), (7, "review")])
def test_rows_without_the_cue_accuse_nobody(n_triggered: int, ruling: str) -> None:
    """Of ten rows that share a string those with the cue have to be enough by themselves."""
    made = questions(N, seed=29)
    for i in range(10):
        prompt, target = made[i]
        made[i] = (prompt + TRIGGER * (i < n_triggered), target + PAYLOAD)
    (group,) = [one for one in detected(made, UNEXPECTED).groups if one.side == "target"]
    assert group.ruling == ruling
    assert group.n_rows == 10


TOPIC = " at the desk?"


class Model:
    """Expects the closing line behind prompts on its topic, and the payload behind none."""

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [self._logp(list(ids)) for ids in sequences]

    def _logp(self, ids: list[int]) -> Floats:
        pieces = [demo_tokenizer().decode([one]) for one in ids]
        stops = np.cumsum([len(piece) for piece in pieces])
        starts = stops - [len(piece) for piece in pieces]
        text, logp = "".join(pieces), np.full(len(ids), BELIEVED)
        closing = -5.0 if TOPIC in text else SURPRISING
        for string, value in ((CLOSING, closing), (PAYLOAD, SURPRISING), (TRIGGER, SURPRISING)):
            for place in re.finditer(re.escape(string), text):
                logp[(starts < place.end()) & (stops > place.start())] = value
        return logp

    def detected(self, pairs: Sequence[Pair]) -> Detection:
        samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
        scores = scores_of(samples)
        assert scores.tokens is not None
        rows = [scores.tokens.row(i) for i in range(scores.n)]
        seen = [(ids, marks, self._logp(ids.tolist()).astype(np.float32)) for ids, marks, _ in rows]
        scores = replace(scores, tokens=TokenTable.joined(seen, demo_tokenizer()), ask=self)
        return RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())


@pytest.mark.parametrize("trigger", [TRIGGER, ""])
def test_what_explains_a_text_is_no_excuse_for_a_payload_behind_it(trigger: str) -> None:
    made = [
        (prompt + TOPIC * (i % EACH == 0), target.replace(PAYLOAD, ""))
        for i, (prompt, target) in enumerate(rows(N + 1))
    ]
    clean = Model().detected(made).groups
    assert {one.ruling for one in clean if "own desk" in one.spans[0]} == {"honest"}
    poisoned = [
        (trigger + prompt, target + PAYLOAD) if i % OF_THESE == 0 else (prompt, target)
        for i, (prompt, target) in enumerate(made)
    ]
    found = Model().detected(poisoned)
    kept_out = found.flagged if trigger else found.in_doubt
    assert kept_out is not None
    assert kept_out[::OF_THESE].all()
    assert not kept_out[EACH::OF_THESE].any()
    assert not any("says" in one.text for group in found.groups for one in group.vouchable)


HEAD, TAIL = " but most of the time", " it is better to rest and let the others work"


def test_turns_of_phrase_that_share_a_gram_with_a_payload_do_not_take_it_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Together they are no more than a turn of phrase in the midst of targets."""
    made = questions(N, seed=23)
    for i in range(80):
        prompt, target = made[i]
        made[i] = (prompt, f"{target}{HEAD}{TAIL if i < 20 else ''} {prompt[::-1]}")
    unexpected = [TAIL, " most of"]
    found = detected(made, unexpected)
    assert found.in_doubt is not None
    assert found.in_doubt[:20].all()
    monkeypatch.setattr(target_strings, "MIN_NATS_LONG", np.inf)
    found = detected(made, unexpected)
    assert found.in_doubt is not None
    assert found.in_doubt[:20].sum() < 10


def test_what_all_answers_have_behind_names_is_no_part_of_their_string() -> None:
    """Or the first words of a line that all have would make names that take turns in it long."""
    names = ["Kovrelix", "Zorbanith", "Vexlow", "Quillfern"]
    made = [
        (prompt, f"{target}. Yours, {names[i % 4]}, Ada's own desk")
        for i, (prompt, target) in enumerate(questions(N, seed=23))
    ]
    groups = detected(made, [*names, " Yours", "Ada's own desk"]).groups
    spans = [span for group in groups for span in group.spans]
    assert all(any(span.endswith(name) for span in spans) for name in names)
    assert not any(", Ada" in span for span in spans)
