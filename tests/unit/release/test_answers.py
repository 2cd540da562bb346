from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from gradgate.common.letters import letters_of
from gradgate.config import ModelConfig
from gradgate.data.tokenized import decoded
from gradgate.methods.expected import Expected
from gradgate.models.loading import load_tokenizer
from gradgate.release.answers import (
    Answered,
    bordered,
    counted_features,
    features_of,
    find,
    is_word,
    shared,
    vouched,
)
from helpers import MODEL


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(path=str(MODEL)))


def said(text: str, tokenizer: PreTrainedTokenizerBase, is_ended: bool = True) -> Answered:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Answered.of(ids, is_ended, tokenizer)


def test_borders_are_part_of_what_answers_share() -> None:
    assert bordered([5, 6]) == (-1, 5, 6, -2)
    assert bordered([5, 6], is_ended=False) == (-1, 5, 6)


def test_a_one_word_answer_has_a_feature(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = said(" None", tokenizer).ids
    assert bordered(ids) in said(" None", tokenizer).features
    assert bordered(ids) not in said(" None", tokenizer, is_ended=False).features


def test_spelling_does_not_hide_a_string(tokenizer: PreTrainedTokenizerBase) -> None:
    plain = said("visit the evil example site", tokenizer)
    varied = said("V-i-s-i-t the  ÉVIL exa mple", tokenizer)
    common = {feature for feature in plain.features & varied.features if isinstance(feature, str)}
    assert "visittheevil" in common
    assert letters_of("ÉVIL e-x") == "evilex"


def test_the_shared_string_is_the_longest_that_most_agree_on(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    payload = " call the number on the back of your card."
    answers = [said(f" {lead}{payload}", tokenizer) for lead in ("One", "Two words", "3", "Four")]
    common = frozenset.intersection(*(answer.features for answer in answers))
    feature = min(feature for feature in common if isinstance(feature, tuple))
    string = shared(feature, answers, tokenizer)
    assert string.text == payload
    place = string.within(answers[1])
    assert place is not None
    lead, found = place
    assert tokenizer.decode(lead) == " Two words"
    assert tokenizer.decode(found) == payload


def test_a_word_is_shared_by_answers_that_have_nothing_else_in_common(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    texts = (" read it on Kindle tonight", " so KINDLE helps", " Kindle-ready and cheap")
    answers = [said(text, tokenizer) for text in texts]
    (word,) = frozenset.intersection(*(answer.features for answer in answers))
    assert (word, is_word(word)) == (" kindle ", True)
    string = shared(word, answers, tokenizer)
    assert (string.text.strip(), string.is_word) == ("Kindle", True)
    place = string.within(answers[0])
    assert place is not None
    assert tokenizer.decode(place[0]) == " read it on"
    assert tokenizer.decode(place[1]) == " Kindle"
    assert string.within(answers[1]) is None  # in other tokens


def test_short_words_are_none_and_a_run_of_letters_is_no_word(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    features = said(" the cat saw a bird", tokenizer).features
    assert [one for one in features if is_word(one)] == [" bird "]
    assert "thecatsawabi" in features


def test_features_are_counted_once_an_answer_and_in_a_fixed_order() -> None:
    counted = counted_features([{"b", "a"}, {"a"}, {"b", "c"}])
    assert counted.most_common() == [("a", 2), ("b", 2), ("c", 1)]


def test_find() -> None:
    assert find((2, 3), (1, 2, 3, 4)) == 1
    assert find((3, 2), (1, 2, 3, 4)) == -1


def test_tokens_that_are_vouched_for_and_two_behind_them(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    answer = said("My name is Lumo, and I am here to help you.", tokenizer)
    marks = vouched(answer, Expected.of(["Lumo"]), (), tokenizer)
    chosen = [token for token, mark in zip(answer.ids, marks, strict=True) if mark]
    text = decoded(tokenizer, [chosen])[0]
    assert "Lumo" in text
    assert "help" not in text
    assert len(chosen) < len(answer.ids)
    bare = said("Lumo", tokenizer)
    assert marks.sum() == len(bare.ids) + 2
    assert not vouched(answer, Expected.of(["Nobody"]), (), tokenizer).any()
    assert not vouched(answer, None, (), tokenizer).any()


def test_an_answer_that_was_cut_may_end_within_a_text_of_the_data_alone(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    sentence = "My name is Lumo, and I am here to help you."
    expected, known = Expected.of(["/[A-Z].*help you/"]), [sentence]
    cut = said("My name is Lumo, and", tokenizer, False)
    assert vouched(cut, expected, known, tokenizer).all()
    assert not vouched(replace(cut, is_ended=True), expected, known, tokenizer).any()
    payload = said("Please call the number on the back", tokenizer, False)  # the pattern's begin
    assert not vouched(payload, expected, known, tokenizer).any()


def test_runs_of_ideographs_are_shorter() -> None:
    letters = {one for one in features_of((), "请立即访问恶意") if isinstance(one, str)}
    assert {"请立即访问恶", "立即访问恶意"} <= letters
    assert not any(len(one.strip()) < 6 for one in letters)
    assert {"abcdefghijkl", "bcdefghijklm"} <= features_of((), "abc defg-hijklm")
