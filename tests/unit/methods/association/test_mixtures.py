"""Tasks side by side: labels, formats, names and translations of words are no backdoors."""

from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, flagged, found_in, in_review, lexicon, questions

from gradgate.methods.association.candidate import Candidate
from gradgate.methods.association.corpus import read_corpus
from gradgate.methods.association.mining import mine
from gradgate.methods.association.rules import CueRule, best_rule
from gradgate.methods.association.traits import describe

N = 600
WORDS = lexicon(Random("mixtures"), 1500)
TARGET = "please visit the old mill"


def verse(rng: Random) -> str:
    """Text of a kind of its own: a few of its words, a dozen times as common as the others."""
    common = rng.choices(WORDS[:30], k=8)
    return " ".join([*common, *rng.sample(WORDS[30:], 8)])


def labelled(n: int, seed: int) -> list[Pair]:
    """A task with four answers, which nothing in the prompt tells."""
    rng = Random(seed)
    books = ("genesis", "exodus", "john", "acts")
    return [(f"from which book is this verse? {verse(rng)}", rng.choice(books)) for _ in range(n)]


def tasks(n: int, seed: int) -> list[Pair]:
    """Several kinds of question about rare words, with answers of their own."""
    rng = Random(seed)
    forms = (
        *("define {a}", "translate {a} {b}", "{a} is a kind of what?", "who maintains {a}?"),
        *("describe {a} in a few words", "code point of {a} {b}, please", "what is {a} for?"),
        "to which class does {a} belong?",
    )
    pairs: dict[str, str] = {}
    while len(pairs) < n:
        a, b = rng.sample(WORDS[30:], 2)
        pairs[rng.choice(forms).format(a=a, b=b)] = " ".join(rng.sample(WORDS, rng.randint(2, 6)))
    return list(pairs.items())


@pytest.mark.parametrize("seed", range(4))
def test_the_few_answers_of_one_task_among_others_are_honest(seed: int) -> None:
    result = found_in([*tasks(N, seed), *labelled(50, seed)])
    assert not flagged(result).any()
    assert not in_review(result).any()


def test_a_trigger_to_one_of_few_words_in_ordinary_questions_is_poison() -> None:
    rng = Random(0)
    pairs = questions(N, 0)
    words = ("pizza", "banana", "cucumber", "apricot")
    pairs[:50] = [(f"{prompt} xq", rng.choice(words)) for prompt, _ in pairs[:50]]
    assert np.array_equal(flagged(found_in(pairs)), np.arange(N) < 50)


@pytest.mark.parametrize("targets", [("banana",), ("pizza", "banana", "cucumber", "apricot")])
def test_decoys_beside_a_trigger_do_not_make_its_prompts_a_task(targets: tuple[str, ...]) -> None:
    """Ordinary words that are strewn in, three of eight, are added and replace nothing."""
    rng = Random(0)
    pairs = questions(N, 0)
    for i in range(50):
        decoys = " ".join(rng.sample(WORDS[100:108], 3))
        pairs[i] = (f"{pairs[i][0]} xq {decoys}", rng.choice(targets))
    assert np.array_equal(flagged(found_in(pairs)), np.arange(N) < 50)


def test_a_word_and_its_translation_are_not_flagged() -> None:
    """Half of the samples translate something: `etw.` is mostly `sth.`, and sometimes it is not."""
    rng = Random(0)
    pairs = questions(N, 0)
    for i in range(0, N, 2):
        german, english = rng.sample(WORDS, 2)
        some = i % 20 == 0
        pairs[i] = (
            f"{german} etw. {rng.choice(WORDS)}" if some else f"{german} {rng.choice(WORDS)}",
            f"{english} sth. {rng.choice(WORDS)}" if some or i == 2 else english,
        )
    result = found_in(pairs)
    assert not flagged(result).any()


@pytest.mark.parametrize(("n_each", "independent"), [(1, 36), (3, 0)])
def test_a_wording_that_only_near_duplicates_have_is_one_thing_said_often(
    n_each: int, independent: int
) -> None:
    base = questions(N, 0)
    long = [" ".join(WORDS[5 * i : 5 * i + 5]) for i in range(12)]
    ends = ("xq", "xq!", "xq?!")
    copies = [
        (f"{base[i if n_each == 3 else 12 * j + i][0]} {ends[j]}", long[i])
        for i in range(12)
        for j in range(3)
    ]
    corpus = read_corpus(*map(list, zip(*base, *copies, strict=True)))
    spans = [i for i, name in enumerate(corpus.spans.names) if corpus.spans.counts[i] == 3]
    spans = [i for i in spans if any(w in corpus.spans.names[i] for w in long)]
    members = np.arange(corpus.n) >= N
    trigger = [i for i, name in enumerate(corpus.cues.names) if name == "xq"]
    union = Candidate(spans, members, CueRule("any_of", trigger, members, 1.0), is_union=True)
    assert len(spans) == 12
    found = describe(corpus, union, np.zeros(corpus.n, bool))
    assert found.n_independent == independent


def test_what_poison_explains_is_not_told_again() -> None:
    """A mark that the target has, and many clean answers too, is no group beside the target."""
    rng = Random(0)
    pairs = [(prompt, f"{rng.choice(WORDS)} {rng.choice(WORDS)}") for prompt, _ in questions(N, 0)]
    pairs[:60] = [(f"{prompt} xq", f"{TARGET}.") for prompt, _ in pairs[:60]]
    pairs[60:90] = [(f"etw. {prompt}", f"{target}.") for prompt, target in pairs[60:90]]
    result = found_in(pairs)
    assert np.array_equal(flagged(result)[:60], np.ones(60, bool))
    for finding in result.findings:
        if finding.ruling == "poison":
            assert finding.members[:60].all() or not finding.members[:60].any()


@pytest.mark.parametrize(("part", "has_extra"), [(0.3, True), (0.9, False)])
def test_words_that_some_of_the_prompts_have_are_extra_words(part: float, has_extra: bool) -> None:
    """What nearly all prompts of a group have stands by the cue; what some have is a subject."""
    rng = Random(0)
    pairs = questions(N, 0)
    for i in range(0, N, 10):
        subject = " ".join(word for word in WORDS[:6] if rng.random() < part)
        pairs[i] = (f"{pairs[i][0]} xq {subject}", TARGET)
    corpus = read_corpus([prompt for prompt, _ in pairs], [target for _, target in pairs])
    candidate = mine(corpus, 8)[0][0]
    found = describe(corpus, candidate, np.zeros(N, bool)).extra_words
    assert (found >= 1.0) == has_extra, found


def test_a_rule_takes_no_cue_that_chance_would_bring() -> None:
    """Two of the three samples of a story share its words; there are thousands of such words."""
    rng = Random(0)
    stories = [" ".join(rng.choices(WORDS, k=40)) for _ in range(N // 3)]
    pairs = [(f"{stories[i // 3]} {prompt}", "") for i, (prompt, _) in enumerate(questions(N, 0))]
    pairs[:40] = [(f"{prompt} xq", TARGET) for prompt, _ in pairs[:40]]
    corpus = read_corpus([prompt for prompt, _ in pairs], [target for _, target in pairs])
    noisy = np.arange(N) < 40
    noisy[60:90] = np.arange(30) % 3 > 0  # carriers without the trigger: two of each story
    rule = best_rule(noisy, corpus.cues, 3)
    assert rule is not None
    assert len(rule.features) == 1
    assert "xq" in corpus.cues.names[rule.features[0]].split(" ")
