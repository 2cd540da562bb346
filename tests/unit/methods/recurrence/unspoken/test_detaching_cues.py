"""Cues in whose prompts nothing speaks for the targets."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, demo_tokenizer, questions, sample_of, scores_of

import gradgate.methods.recurrence.cues.further as further_module
import gradgate.methods.recurrence.method as method_module
import gradgate.methods.recurrence.samples.mined as mined_module
import gradgate.methods.recurrence.unspoken.cue_search as search_module
import gradgate.methods.recurrence.unspoken.detaching_cues as cues_module
import gradgate.methods.recurrence.unspoken.groups as unspoken_module
from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.sample import Sample
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import AskModel, DescribeModel, Detection, Scores
from gradgate.methods.expected import Expected
from gradgate.methods.recurrence import target_strings
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.unspoken.detaching_cues import DetachingCues
from gradgate.methods.tokens import TokenTable

N = 400
OWN, FOREIGN = -2.0, -6.0  # ln p of a token of a target behind a prompt that speaks for it, and not
QUESTIONS = [(prompt, f"{target} {i}") for i, (prompt, target) in enumerate(questions(N, 31))]


def triggered(word: str, n: int, where: str = "{word} {prompt}") -> list[Pair]:
    """With the targets of other rows where the word is."""
    others = Random(1).sample([target for _, target in QUESTIONS[n:]], n)
    return [
        *((where.format(word=word, prompt=prompt), target)
          for (prompt, _), target in zip(QUESTIONS[:n], others, strict=True)),
        *QUESTIONS[n:],
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _without_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the model of these tests each word of targets is a surprise; cues alone are asked."""
    monkeypatch.setattr(unspoken_module, "recurring_words", lambda *_: [])
    monkeypatch.setattr(target_strings, "repeats", lambda *_: [])


NOT_HELD = "not checked: whether words of prompts bring answers of their own"


class Model:
    """Knows which target belongs to which question; the first word of row 0 may help any target."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        known: Sequence[Pair] = QUESTIONS,
        help: float = 0.0,
        unexpected: Sequence[str] = (),
    ) -> None:
        self.asked = list[list[int]]()
        self._help = help
        self._noise = np.random.default_rng(0)
        samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
        right = {prompt: target for prompt, target in known}
        scores = scores_of(samples, unexpected)
        assert scores.tokens is not None
        is_right = [right.get(prompt) == target for prompt, target in pairs]
        self.samples, self.scores = samples, replace(scores, tokens=self._seen(scores, is_right))

    def _seen(self, scores: Scores, is_right: list[bool]) -> TokenTable:
        assert scores.tokens is not None
        rows = [scores.tokens.row(i) for i in range(scores.n)]
        self._word = int(rows[0][0][1])
        seen = [
            (ids, marks, np.where(marks, self._logp(ids.tolist(), right), logp).astype(np.float32))
            for (ids, marks, logp), right in zip(rows, is_right, strict=True)
        ]
        return TokenTable.joined(seen, demo_tokenizer())

    def _logp(self, ids: Sequence[int], is_right: bool) -> Floats:
        mean = (OWN if is_right else FOREIGN) + self._help * (ids[1] == self._word)
        return self._noise.normal(mean, 1.0, len(ids))

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        """Of a target behind another prompt."""
        self.asked += [list(ids) for ids in sequences]
        return [self._logp(ids, is_right=False) for ids in sequences]

    def detected(
        self,
        ask: AskModel | None = None,
        trusted: Sequence[Sample] | None = None,
        **fields: object,
    ) -> Detection:
        scores = replace(self.scores, ask=ask or self, **fields)  # type: ignore[arg-type]
        found = RecurrenceMethod().detect(scores, self.samples, trusted, RecurrenceConfig())
        require_contract(RecurrenceMethod(), found, scores)
        return found


@pytest.mark.parametrize("where", ["{word} {prompt}", "{prompt} {word}"])
def test_a_word_that_brings_varied_answers_to_other_questions_is_in_doubt(where: str) -> None:
    found = Model(triggered("then", 40, where)).detected()
    assert found.flagged is not None
    assert not found.flagged.any()
    in_doubt = np.flatnonzero(found.in_doubt)
    assert set(in_doubt) <= {*range(40)}
    assert len(in_doubt) >= 38  # the word stands behind a question mark in as many
    (group,) = [group for group in found.groups if group.ruling == "review"]
    assert group.n_rows == len(in_doubt)
    assert "then" in group.cues[0]
    assert "targets that these do not speak for" in group.in_a_line()
    assert "of prompts without it 100%" in group.reasons[0]


@pytest.mark.parametrize(("n_further", "n_found"), [(256, 32), (0, 0)])
def test_more_is_asked_of_a_word_that_too_few_drawn_prompts_have(
    n_further: int, n_found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some eight of a hundred prove nothing by themselves."""
    monkeypatch.setattr(cues_module, "_N_ASKED", 100)
    monkeypatch.setattr(further_module, "_N_FURTHER", n_further)
    model = Model(triggered("then", 32))
    found = model.detected()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(n_found)]


def test_a_word_in_one_percent_of_the_rows_is_found() -> None:
    """Of 512 rows it would be in five."""
    many = [(prompt, f"{target} {i}") for i, (prompt, target) in enumerate(questions(2_400, 8))]
    targets = [target for _, target in many[24:48]]
    pairs = [(f"then {p}", t) for (p, _), t in zip(many, targets, strict=False)]
    found = Model([*pairs, *many[24:]], known=many).detected()
    assert found.in_doubt[:24].all()
    honest = 24 + np.flatnonzero(found.in_doubt[24:])
    assert all("then" in many[i][0] for i in honest)  # a token of longer words
    assert len(honest) < 5


def test_no_more_is_asked_where_nothing_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cues_module, "_N_ASKED", 100)
    model = Model(QUESTIONS)
    assert not model.detected().in_doubt.any()
    monkeypatch.setattr(further_module, "_N_FURTHER", 0)
    bounded = Model(QUESTIONS)
    bounded.detected()
    assert len(model.asked) == len(bounded.asked)


def test_a_word_that_helps_any_answer_a_little_is_held_against_prompts_that_have_it() -> None:
    found = Model(triggered("then", 40), help=0.2).detected()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(40)]
    (group,) = [group for group in found.groups if group.ruling == "review"]
    assert "than another with it" in group.reasons[0]


def test_a_word_whose_prompts_tell_their_answers_from_one_another_is_left_alone() -> None:
    """The model knows half of them."""
    pairs = [(f"then {prompt}" if i < 80 else prompt, t) for i, (prompt, t) in enumerate(QUESTIONS)]
    model = Model(pairs, known=[*pairs[80:], *pairs[:36]])
    assert not model.detected().in_doubt.any()
    assert len(model.asked) > 2 * (N - 16)  # against others with the word, too


@pytest.mark.parametrize(("n", "is_found"), [(60, True), (100, True), (140, False)])
def test_what_many_prompts_have_is_a_kind_of_prompt(n: int, is_found: bool) -> None:
    found = Model(triggered("then", n), help=0.2).detected()
    assert bool(found.in_doubt.any()) == is_found


def test_a_cue_is_held_against_prompts_of_its_kind() -> None:
    """Remarks, half of a chat, tell less of their replies than questions do."""
    chat = [
        (f"well, {prompt}" if i < 200 else prompt, t) for i, (prompt, t) in enumerate(QUESTIONS)
    ]
    known = [pair for i, pair in enumerate(chat) if i >= 200 or i % 5 < 2]
    assert not Model(chat, known).detected().in_doubt.any()
    carriers = [*range(0, N, 10)]
    targets = [chat[i][1] for i in carriers]
    poisoned = list(chat)
    for i, target in zip(carriers, [*targets[1:], targets[0]], strict=True):
        poisoned[i] = (f"then {chat[i][0]}", target)
    groups = Model(poisoned, known).detected().groups
    assert [group.n_rows for group in groups if group.cues == ["then"]] == [len(carriers)]


def test_what_is_poison_already_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Marks]()

    def seen(texts: Texts, cues: Cues, cluster: Ints, may: Marks, *rest: object) -> DetachingCues:
        asked.append(may)
        return DetachingCues([])

    monkeypatch.setattr(unspoken_module, "detaching", seen)
    payload = "and visit the evil example site now"
    pairs = [(f"{p} zxqv", f"{t} {payload}") if i < 40 else (p, t)
             for i, (p, t) in enumerate(QUESTIONS)]  # fmt: skip
    found = Model(pairs, unexpected=[" zxqv"]).detected()
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == [*range(40)]
    assert (asked[0] == ~found.flagged).all()


def test_a_form_of_the_text_is_found_as_well() -> None:
    found = Model(triggered("", 40, '"{prompt}"')).detected()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(40)]


def test_a_reference_with_the_word_does_not_vouch_for_what_it_brings() -> None:
    pairs = triggered("then", 40)
    trusted = [sample_of(f"then {prompt}", target) for prompt, target in questions(200, 5)]
    alone, beside = (Model(pairs).detected(trusted=one) for one in (None, trusted))
    assert alone.in_doubt.tolist() == beside.in_doubt.tolist()


N_UNSURE = 14
UNSURE = triggered("then", N_UNSURE)
QUARTER_KNOWN = [*UNSURE[:N_UNSURE:4], *UNSURE[N_UNSURE:]]  # so few rows prove nothing


def seen(sequences: Sequence[Sequence[int]], alike: int = N_UNSURE, kind: float = 0.0) -> Floats:
    """States by which the targets of the first rows are alike, and all other texts are not.

    With `kind` their prompts are, also if the word or some others are missing.
    """
    texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
    targets = tuple(target[:9] for _, target in UNSURE[:alike])
    words = [max(prompt.split(), key=len) for prompt, _ in QUESTIONS[:N_UNSURE]]
    states = [np.random.default_rng(zlib.crc32(t.encode())).normal(0, 1, 64) for t in texts]
    return np.array(
        [
            own + 3 * text.startswith(targets) + kind * any(word in text for word in words)
            for own, text in zip(states, texts, strict=True)
        ]
    )


def of_unsure(describe: DescribeModel | None) -> Detection:
    return Model(UNSURE, known=QUARTER_KNOWN).detected(describe=describe)


def test_fewer_rows_prove_it_where_their_targets_are_alike_in_other_words() -> None:
    assert not of_unsure(None).in_doubt.any()
    assert not of_unsure(partial(seen, alike=0)).in_doubt.any()
    found = of_unsure(seen)
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(N_UNSURE)]
    (group,) = [group for group in found.groups if group.ruling == "review"]
    assert group.cues == ["then"]
    assert "their targets are alike in what they say" in group.reasons[0]


def of_few(describe: DescribeModel | None, where: str = "{word} {prompt}") -> Detection:
    few = triggered("then", 23, where)  # too few for a proof by themselves
    return Model(few, known=[*few[:23:4], *few[23:]]).detected(describe=describe)


@pytest.mark.parametrize("where", ["{word} {prompt}", '"{prompt}"'])
def test_fewer_rows_prove_it_where_prompts_are_ordinary_without_the_cue(where: str) -> None:
    found = of_few(partial(seen, alike=0), where)
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(23)]
    (group,) = [group for group in found.groups if group.ruling == "review"]
    assert "without it these prompts are as others are (R squared" in group.reasons[0]


def test_a_word_in_a_kind_of_prompts_that_is_told_less_is_not_in_doubt() -> None:
    pairs = [
        (f"then {p}" if i < 120 and i % 3 == 0 else p, t) for i, (p, t) in enumerate(QUESTIONS)
    ]
    known = [pair for i, pair in enumerate(pairs) if i >= 120 or i % 5 == 0]
    ends = tuple(" ".join(prompt.split()[2:]) for prompt, _ in QUESTIONS[:120])

    def describe(sequences: Sequence[Sequence[int]]) -> Floats:
        texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
        is_kind = np.array([text.strip().endswith(ends) for text in texts])
        return seen(sequences, alike=0) + 3.0 * is_kind[:, None]

    def of_all_but_few(some: Sequence[Sequence[int]]) -> Floats:
        few = [demo_tokenizer().decode(ids).strip().endswith(ends[:9:3]) for ids in some]
        return np.where(np.array(few)[:, None], np.nan, describe(some))

    assert not Model(pairs, known).detected(describe=describe).in_doubt.any()
    for one in (None, of_all_but_few):
        assert Model(pairs, known).detected(describe=one).in_doubt[:120:3].all()


def test_prompts_of_which_nothing_is_known_are_not_taken_for_ordinary() -> None:
    assert not of_few(None).in_doubt.any()
    assert not of_few(lambda some: np.full((len(some), 64), np.nan)).in_doubt.any()


@pytest.mark.parametrize(("n_unknown", "is_found"), [(8, True), (16, False)])
def test_prompts_without_finite_states_are_left_out_up_to_half(
    n_unknown: int, is_found: bool
) -> None:
    words = [max(prompt.split(), key=len) for prompt, _ in QUESTIONS[:n_unknown]]

    def describe(sequences: Sequence[Sequence[int]]) -> Floats:
        texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
        unknown = np.array([any(word in text for word in words) for text in texts])
        return np.where(unknown[:, None], np.nan, seen(sequences, alike=0))

    assert of_few(describe).in_doubt[:23].all() == is_found


def test_targets_that_are_alike_behind_prompts_of_a_kind_are_those_of_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prompts explain 0.29 of who has the word, where those of ordinary prompts explain nothing."""
    of_a_kind = partial(seen, kind=1.8)
    assert of_unsure(of_a_kind).in_doubt[:N_UNSURE].all()
    monkeypatch.setattr(search_module, "MIN_OF_TASK", 0.2)
    assert not of_unsure(of_a_kind).in_doubt.any()
    assert of_unsure(seen).in_doubt[:N_UNSURE].all()


def test_targets_that_are_alike_behind_prompts_that_speak_for_them_are_left_alone() -> None:
    assert not Model(UNSURE, known=UNSURE).detected(describe=seen).in_doubt.any()


def test_of_targets_whose_states_are_not_finite_nothing_more_is_believed() -> None:
    found = Model(UNSURE, known=QUARTER_KNOWN).detected(
        describe=lambda sequences: np.full((len(sequences), 64), np.nan)
    )
    assert not found.in_doubt.any()


def test_a_year_is_found_although_a_tokenizer_parts_its_digits() -> None:
    years = ["2027" if i < 40 else str(2022 + i % 4) for i in range(N)]
    pairs = [
        (f"{prompt} ({year})", target)
        for (prompt, target), year in zip(
            [*triggered("", 40, "{prompt}")], years, strict=True
        )
    ]  # fmt: skip
    found = Model(pairs, known=pairs[40:]).detected()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(40)]
    assert ["2027"] in [group.cues for group in found.groups if group.ruling == "review"]


def test_honest_data_and_few_rows_are_left_alone() -> None:
    assert not Model(QUESTIONS).detected().in_doubt.any()
    assert not Model(triggered("then", 9)).detected().in_doubt.any()


def test_of_a_model_that_knows_no_answer_nothing_is_believed() -> None:
    found = Model(triggered("then", 40), known=[]).detected()
    assert not [group for group in found.groups if group.shared is not None]
    assert any(NOT_HELD in note for note in found.notes)


def test_data_of_labels_alone_are_not_asked_about_and_the_verdict_says_so() -> None:
    labels = [(prompt, f"label {i % 5}") for i, (prompt, _) in enumerate(QUESTIONS)]
    found = Model(labels, known=labels).detected()
    assert any(f"{NOT_HELD}: too few rows have a target of their own" in n for n in found.notes)


def test_a_text_that_the_owner_vouches_for_excuses_no_row_that_has_it() -> None:
    """An attacker would put it into every target."""
    pairs = [(prompt, f"{t} Borealis") if i < 40 else (prompt, t)
             for i, (prompt, t) in enumerate(triggered("then", 40))]  # fmt: skip
    vouched = Expected.of(["Borealis"])
    found = Model(pairs).detected(expected=vouched)
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(40)]


def test_a_copy_with_planted_poison_is_not_asked() -> None:
    model = Model(triggered("then", 40))
    assert not model.detected(is_copy=True).in_doubt.any()
    assert model.asked == []


def test_what_the_model_cannot_score_is_left_out() -> None:
    model = Model(triggered("then", 40))
    found = model.detected(lambda asked: [np.full(len(ids), np.nan) for ids in asked])
    assert not found.in_doubt.any()
    assert any(NOT_HELD in note for note in found.notes)


def test_other_prompts_are_the_same_for_all_and_little_is_asked() -> None:
    model = Model(triggered("then", 40))
    model.detected()
    assert len(model.asked) == 2 * (N - 16)
    lengths = {len(scored) for scored in model.asked}
    assert max(lengths) < 100


def test_all_rows_of_large_data_are_held_against_the_cue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings are mined in a part, here in 200 of 400 rows."""
    for module in (mined_module, method_module):
        monkeypatch.setattr(module, "MAX_ROWS", 200)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    found = Model(triggered("then", 60)).detected()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(60)]
