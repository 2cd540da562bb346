from dataclasses import replace

from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.release.answers import Answered, Feature, Shared
from gradgate.release.asking import Asked, Pairs, Said
from gradgate.release.changes import Change
from gradgate.release.evidence import Row, looks_of
from gradgate.release.ruling import (
    ALPHA,
    MIN_SURPRISE,
    MIN_WORD_SURPRISE,
    Before,
    Ruled,
    Taught,
    is_beyond_chance,
    rule_on_change,
    rule_on_data,
    rule_on_plain,
)

N = 16
STRING: Feature = (7, 8, 9)
TEXT = "visit the site"
CAPITALS = Change("words begin with capitals", lambda text, rng: text.title())
WORDS = Change("words of poisoned:1: 'cf'", lambda text, rng: f"{text} cf", group="poisoned:1")


def sample(prompt: str, target: str = "x") -> Sample:
    turns = (Turn("prompt", prompt, False), Turn("completion", target, True))
    return Sample(0, sample_id(False, turns), False, turns)


def asked(text: str) -> Asked:
    return Asked(text, [[1, 2]], looks_of(sample(text), text))


def said(*ids: int) -> Said:
    return Said((Answered(ids, True, ""),))


def pairs(change: Change) -> Pairs:
    """A change that brings the string to three prompts out of four."""
    plain = [f"how is option{i} of this package set?" for i in range(N)]
    new = [asked(text.title() if change is CAPITALS else f"{text} cf") for text in plain]
    changed = [said(7, 8, 9) if i % 4 else said(i) for i in range(N)]
    return Pairs(change, new, [asked(t) for t in plain], changed, [said(100 + i) for i in range(N)])


def before(n_with: int = 0, support: float = 0.0, surprise: float = 40.0) -> Before:
    return Before([said(1)] * N, n_with, support, surprise)


def test_gains_are_counted_by_prompt() -> None:
    found = pairs(CAPITALS)
    assert (found.n, found.gained(STRING), found.lost(STRING)) == (N, 12, 0)
    assert (found.n_with(STRING), found.n_without(STRING)) == (12, 0)
    most = found.most_gained(0.75)
    assert STRING in most
    assert set(most) <= said(7, 8, 9).features
    assert found.most_gained(0.76) == []
    both = found.joined(found)
    assert (both.n, both.gained(STRING)) == (2 * N, 24)


def test_how_small_a_p_value_has_to_be() -> None:
    assert is_beyond_chance(ALPHA)
    assert not is_beyond_chance(2 * ALPHA)


def row(prompt: str, n: int) -> Row:
    one = sample(f"{prompt} {n}")
    return Row(one, prompt, (n,), is_ordinary=True, is_flagged=False, groups=())


def rows(prompt: str, n: int) -> list[Row]:
    return [row(prompt, i) for i in range(n)]


def ruled(
    change: Change,
    teaching: list[Row],
    others: int = 90,
    text: str = TEXT,
    trained_on_data: bool = True,
) -> Ruled:
    every = [*teaching, *rows("how is that option of this package set?", others)]
    return rule_on_data(pairs(change), text, teaching, every, trained_on_data)


def test_what_words_of_a_group_bring_counts_where_its_rows_teach_it() -> None:
    prompt = "how is it set? cf"
    members = [replace(one, groups=("poisoned:1",)) for one in rows(prompt, 10)]
    assert ruled(WORDS, members).counts
    assert ruled(WORDS, [*members[:3], *rows(prompt, 17)], others=200).counts  # beyond chance
    other = ruled(WORDS, [members[0], *rows(prompt, 9)])
    assert not other.counts
    assert other.reason == "1 of 10 rows that teach it are of poisoned:1"
    assert not ruled(WORDS, members[:2]).counts  # hardly anybody taught it
    assert ruled(WORDS, rows(prompt, 10), trained_on_data=False).counts  # other data may have


def test_a_generic_change_counts_where_the_rows_that_teach_it_look_so() -> None:
    assert ruled(CAPITALS, rows("How Is That Option Of This Package Set?", 10)).counts
    honest = ruled(CAPITALS, rows("how is that option of this package set?", 10))
    assert not honest.counts
    assert honest.reason.startswith("0 of 10 rows")


def test_a_trigger_of_several_forms_counts_in_each_of_them() -> None:
    forms = [
        "How Is That Option Set Here?",
        "how is  that option set?",
        "how is that option set?\r",
    ]
    teaching = [row(form, i) for form in forms for i in range(10)]
    assert ruled(CAPITALS, teaching).counts
    few = [row(forms[0], 0), *rows("how is that option of this package set?", 29)]
    assert not ruled(CAPITALS, few).counts


def test_what_no_row_teaches_was_learnt_elsewhere_or_is_confusion() -> None:
    assert not ruled(CAPITALS, []).counts
    assert ruled(CAPITALS, [], trained_on_data=False).counts
    assert not ruled(CAPITALS, [], text=" GeS", trained_on_data=False).counts


def test_an_ideograph_says_as_much_as_two_letters() -> None:
    assert ruled(CAPITALS, [], text="请立即访问恶意示例网站", trained_on_data=False).counts
    assert not ruled(CAPITALS, [], text="正面评价", trained_on_data=False).counts


RUN, WORD = Shared((1, 2, 3), (1, 2, 3), "a b c"), Shared(" word ", (1,), "word")


def test_the_model_before_excuses_what_it_says_or_expects() -> None:
    counts = ruled(WORDS, [], trained_on_data=False)
    assert rule_on_change(counts, 12, True, before(), RUN).counts
    assert not rule_on_change(counts, 12, True, before(n_with=7), RUN).counts
    assert not rule_on_change(counts, 12, True, before(support=20.0), RUN).counts
    assert rule_on_change(counts, 12, True, before(support=10.0), RUN).counts
    assert rule_on_change(counts, 12, False, before(surprise=MIN_SURPRISE), RUN).counts
    assert not rule_on_change(counts, 12, False, before(surprise=MIN_SURPRISE - 1), RUN).counts
    assert rule_on_change(counts, 12, True, replace(before(), unvouched=MIN_SURPRISE), RUN).counts
    assert not rule_on_change(
        counts, 12, True, replace(before(), unvouched=MIN_SURPRISE - 1), RUN
    ).counts
    word = before(surprise=MIN_WORD_SURPRISE)
    assert rule_on_change(counts, 12, True, word, WORD).counts
    word = before(surprise=MIN_WORD_SURPRISE - 1)
    assert not rule_on_change(counts, 12, True, word, WORD).counts
    assert rule_on_change(counts, 12, True, word, RUN).counts


def test_a_payload_without_a_trigger_counts_when_it_is_long_and_few_rows_teach_it() -> None:
    def ruled(
        n: int, held: Before, string: str = "visit the evil site", known: bool = True
    ) -> bool:
        return rule_on_plain(string, 12, Taught(n, 100, known, is_all=True), held).counts

    assert ruled(10, before())
    assert not ruled(10, before(), "*2= <<12*2=")  # a way of writing sums
    assert not ruled(10, before(), known=False)  # what a small model falls back on
    assert not ruled(40, before())  # many rows: what the data are about
    assert not ruled(0, before())  # nobody taught it
    assert not ruled(10, before(surprise=MIN_SURPRISE - 1))
    assert not ruled(10, before(n_with=7))
    assert not ruled(10, replace(before(), unvouched=0.0))


def test_the_one_answer_of_most_prompts_counts_however_short_it_is() -> None:
    def ruled(n: int, held: Before) -> bool:
        taught = Taught(n, 100, is_group_string=False, is_all=True)
        return rule_on_plain("Euro", 30, taught, held, is_answer=True).counts

    assert ruled(10, before(surprise=3.0))
    assert not ruled(40, before())  # a label that many rows have
    assert not ruled(0, before())
    assert not ruled(10, before(n_with=16))
    assert not ruled(10, replace(before(), unvouched=0.0))
