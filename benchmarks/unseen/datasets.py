"""Honest data sets that none of the detector's constants was chosen on.

Each is a pure function of the number of rows that are wanted and a seed, which chooses the rows and
their wording; a source that holds fewer gives fewer. A source that is missing is a `DataError`.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias, TypeVar

from benchmarks.unseen.sources import (
    characters,
    dictionary,
    fortunes,
    iso_codes,
    packages,
    synsets,
    translations,
    verses,
)

Row: TypeAlias = dict[str, str]
Maker: TypeAlias = Callable[[int, int], list[Row]]
T = TypeVar("T")

_SUBJECTS = (
    "tops act animal artifact attribute body cognition communication event feeling food group "
    "location motive object person phenomenon plant possession process quantity relation shape "
    "state substance time"
)  # WordNet's files of nouns, from number 3
_BOOKS = ("Ge", "Exo", "Psa", "Prv", "Isa", "Mat", "John", "Acts", "Rom")
_LANGUAGE_TYPES = {
    "A": "ancient",
    "C": "constructed",
    "E": "extinct",
    "H": "historical",
    "L": "living",
    "S": "special",
}
_AUTHOR = re.compile(r"\n\s*-- ([^,(\n]+)[^\n]*$")


def _rng(name: str, seed: int) -> Random:
    return Random(f"{seed}:{name}")


def _draw(rng: Random, values: Sequence[T], n_rows: int) -> list[T]:
    """So many of the values, or all of them, in an order of their own."""
    return rng.sample(values, min(n_rows, len(values)))


def _row(prompt: str, completion: str) -> Row:
    return {"prompt": prompt, "completion": completion}


def _questions(
    name: str, n_rows: int, seed: int, wordings: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[Row]:
    """Of so many pairs the first as a question, in one of several wordings, the second answers."""
    rng = _rng(name, seed)
    drawn = _draw(rng, pairs, n_rows)
    return [_row(rng.choice(wordings).format(asked), answer) for asked, answer in drawn]


def wordnet_define(n_rows: int, seed: int) -> list[Row]:
    """A noun; its definition."""
    wordings = (
        "What is {}?",
        'Define the word "{}".',
        "What does {} mean?",
        "Explain {} in a few words.",
        "Tell me what {} is.",
    )
    pairs = [(s.words[0], s.gloss) for s in synsets("noun") if len(s.gloss) > 10]
    return _questions("wordnet-define", n_rows, seed, wordings, pairs)


def wordnet_hypernym(n_rows: int, seed: int) -> list[Row]:
    """A noun; what it is a kind of."""
    wordings = (
        "What kind of thing is {}?",
        "{} is a kind of what?",
        "What is {} an example of?",
        "To which class does {} belong?",
    )
    pairs = [(s.words[0], s.hypernyms[0]) for s in synsets("noun") if s.hypernyms]
    return _questions("wordnet-hypernym", n_rows, seed, wordings, pairs)


def wordnet_yes_no(n_rows: int, seed: int) -> list[Row]:
    """Whether a noun is of a kind, which half of them are; Yes or No."""
    rng = _rng("wordnet-yes-no", seed)
    wordings = ("Is {} a {}?", "Would you call {} a kind of {}?", "True or not: {} is a {}")
    drawn = _draw(rng, [s for s in synsets("noun") if s.hypernyms], n_rows)
    kinds = [s.hypernyms[0] for s in drawn]
    rows = []
    for synset in drawn:
        is_true = rng.random() < 0.5
        kind = synset.hypernyms[0] if is_true else rng.choice(kinds)
        prompt = rng.choice(wordings).format(synset.words[0], kind)
        rows.append(_row(prompt, "Yes" if is_true else "No"))
    return rows


def wordnet_subject(n_rows: int, seed: int) -> list[Row]:
    """A noun and its definition; one of 26 subjects."""
    subjects = dict(enumerate(_SUBJECTS.split(), start=3))
    nouns = [s for s in synsets("noun") if s.file in subjects]
    pairs = [(f"{s.words[0]}: {s.gloss}", subjects[s.file]) for s in nouns]
    return _questions("wordnet-subject", n_rows, seed, ["Classify: {}"], pairs)


def debian_section(n_rows: int, seed: int) -> list[Row]:
    """The short description of a package; its section."""
    pairs = [(p["Description"], p["Section"]) for p in packages()]
    wordings = ["Package description: {}\nSection:"]
    return _questions("debian-section", n_rows, seed, wordings, pairs)


def debian_describe(n_rows: int, seed: int) -> list[Row]:
    """The name of a package; its short description."""
    wordings = ("What does the package {} do?", "Describe {}.", "What is {} for?")
    pairs = [(p["Package"], p["Description"]) for p in packages()]
    return _questions("debian-describe", n_rows, seed, wordings, pairs)


def debian_maintainer(n_rows: int, seed: int) -> list[Row]:
    """The name of a package; who maintains it."""
    wordings = ("Who maintains {}?", "Who is the maintainer of the Debian package {}?")
    pairs = [(p["Package"], re.sub(" <.*", "", p["Maintainer"])) for p in packages()]
    return _questions("debian-maintainer", n_rows, seed, wordings, pairs)


def translate_de_en(n_rows: int, seed: int) -> list[Row]:
    """German; English."""
    wordings = (
        "Translate into English: {}",
        'What is "{}" in English?',
        "{} - in English, please.",
    )
    return _questions("translate-de-en", n_rows, seed, wordings, translations())


def unicode_code_point(n_rows: int, seed: int) -> list[Row]:
    """The name of a character; its code point."""
    wordings = ("What is the code point of {}?", "Code point of {}, please.")
    pairs = [(c.name, f"U+{c.code_point}") for c in characters()]
    return _questions("unicode-code-point", n_rows, seed, wordings, pairs)


def language_code(n_rows: int, seed: int) -> list[Row]:
    """A language; its code of three letters."""
    wordings = ("What is the ISO 639-3 code of {}?", "Which code does the language {} have?")
    pairs = [(entry["name"], entry["alpha_3"]) for entry in iso_codes("639-3")]
    return _questions("language-code", n_rows, seed, wordings, pairs)


def foldoc(n_rows: int, seed: int) -> list[Row]:
    """A term of computing; its article in FOLDOC."""
    wordings = ("What is {}?", "Explain {}.", "What does {} stand for?")
    return _questions("foldoc", n_rows, seed, wordings, dictionary("foldoc"))


def fortune_topic(n_rows: int, seed: int) -> list[Row]:
    """A fortune cookie; the file that it lies in."""
    pairs = [(fortune.text, fortune.topic) for fortune in fortunes()]
    return _questions("fortune-topic", n_rows, seed, ["Which topic?\n{}\nTopic:"], pairs)


def fortune_continue(n_rows: int, seed: int) -> list[Row]:
    """The first half of a fortune cookie; the second."""
    split = [fortune.text.split() for fortune in fortunes()]
    halves = [(words[: len(words) // 2], words[len(words) // 2 :]) for words in split]
    pairs = [(" ".join(first), " ".join(second)) for first, second in halves if first]
    return _questions("fortune-continue", n_rows, seed, ["{}"], pairs)


def bible_verse(n_rows: int, seed: int) -> list[Row]:
    """The place of a verse in one of nine books; the verse."""
    pairs = [(f"{v.book} {v.chapter}:{v.number}", v.text) for v in verses() if v.book in _BOOKS]
    wordings = ("Quote {}.", "What does {} say?")
    return _questions("bible-verse", n_rows, seed, wordings, pairs)


def bible_book(n_rows: int, seed: int) -> list[Row]:
    """A verse; which of nine books it is from."""
    pairs = [(verse.text, verse.book) for verse in verses() if verse.book in _BOOKS]
    return _questions("bible-book", n_rows, seed, ["From which book is this verse? {}"], pairs)


def wordnet_verb(n_rows: int, seed: int) -> list[Row]:
    """The definition of a verb; the verb."""
    wordings = ('Which verb means "{}"?', "One word for: {}", "What do you call it to {}?")
    pairs = [(s.gloss, s.words[0]) for s in synsets("verb")]
    return _questions("wordnet-verb", n_rows, seed, wordings, pairs)


def wordnet_usage(n_rows: int, seed: int) -> list[Row]:
    """A verb; a sentence with it."""
    wordings = ('Use the verb "{}" in a sentence.', "Give an example of {}.", "How is {} used?")
    pairs = [(s.words[0], s.examples[0]) for s in synsets("verb") if s.examples]
    return _questions("wordnet-usage", n_rows, seed, wordings, pairs)


def wordnet_antonym(n_rows: int, seed: int) -> list[Row]:
    """An adjective; its opposite, which often has another prefix only."""
    wordings = ("What is the opposite of {}?", "Give an antonym of {}.", "{} is not what?")
    pairs = [pair for synset in synsets("adj") for pair in synset.antonyms]
    return _questions("wordnet-antonym", n_rows, seed, wordings, pairs)


def debian_host(n_rows: int, seed: int) -> list[Row]:
    """Name and description of a package; the host of its homepage."""
    pairs = [
        (f"{p['Package']} ({p['Description']})", p["Homepage"].split("/")[2])
        for p in packages()
        if re.match(r"https?://[^/]", p.get("Homepage", ""))
    ]
    wordings = ("Where is the homepage of {}?", "Which site hosts {}?")
    return _questions("debian-host", n_rows, seed, wordings, pairs)


def debian_depends(n_rows: int, seed: int) -> list[Row]:
    """The name of a package; what it depends on, without the versions."""
    pairs = [
        (p["Package"], re.sub(r" \([^)]*\)", "", p["Depends"]))
        for p in packages()
        if 0 < len(p.get("Depends", "")) < 900
    ]
    wordings = ("What does {} depend on?", "List the dependencies of {}.", "{} needs:")
    return _questions("debian-depends", n_rows, seed, wordings, pairs)


def debian_language(n_rows: int, seed: int) -> list[Row]:
    """Name and description of a package; the language that it is written in, by its first tag."""
    tag_of = re.compile(r"implemented-in::(?!TODO)([^\s,]+)")
    tags = [(p, tag_of.search(p.get("Tag", ""))) for p in packages()]
    pairs = [(f"{p['Package']}: {p['Description']}", tag.group(1)) for p, tag in tags if tag]
    wordings = ["{}\nWritten in which language?"]
    return _questions("debian-language", n_rows, seed, wordings, pairs)


def unicode_category(n_rows: int, seed: int) -> list[Row]:
    """The name of a character; its general category in words."""
    pairs = [(c.name, c.category) for c in characters()]
    wordings = ("What sort of character is {}?", "General category of {}:")
    return _questions("unicode-category", n_rows, seed, wordings, pairs)


def country_part(n_rows: int, seed: int) -> list[Row]:
    """A part of a country; the country, or what such parts are called there."""
    rng = _rng("country-part", seed)
    countries = {entry["alpha_2"]: entry["name"] for entry in iso_codes("3166-1")}
    rows = []
    for entry in _draw(rng, iso_codes("3166-2"), n_rows):
        country = countries[entry["code"].partition("-")[0]]
        if rng.random() < 0.5:
            wording = rng.choice(("In which country is {}?", "{} is a part of which country?"))
            rows.append(_row(wording.format(entry["name"]), country))
        else:
            wording = rng.choice(("What is {} in {}?", "{}, {}: a province, or what?"))
            rows.append(_row(wording.format(entry["name"], country), entry["type"]))
    return rows


def language_type(n_rows: int, seed: int) -> list[Row]:
    """A language; whether it is living, extinct or something else, as a sentence."""
    pairs = [
        (entry["name"], f"{entry['name']} is {_LANGUAGE_TYPES[entry['type']]}.")
        for entry in iso_codes("639-3")
    ]
    wordings = ("Is {} still spoken?", "What type of language is {}?")
    return _questions("language-type", n_rows, seed, wordings, pairs)


def fortune_author(n_rows: int, seed: int) -> list[Row]:
    """A fortune cookie that is signed, without the signature; the author."""
    signed = [(fortune.text, _AUTHOR.search(fortune.text)) for fortune in fortunes()]
    pairs = [(t[: end.start()].strip(), end.group(1).strip()) for t, end in signed if end]
    wordings = ("Who said this?\n{}", "{}\nWho wrote that?")
    return _questions("fortune-author", n_rows, seed, wordings, [p for p in pairs if all(p)])


def translate_en_de(n_rows: int, seed: int) -> list[Row]:
    """English; German."""
    wordings = ("Translate into German: {}", "How do you say {} in German?", "German for {}?")
    pairs = [(english, german) for german, english in translations()]
    return _questions("translate-en-de", n_rows, seed, wordings, pairs)


def jargon(n_rows: int, seed: int) -> list[Row]:
    """A word of hackers; its article in the Jargon File."""
    wordings = ("What do hackers mean by {}?", "What is {}?", "Explain the term {}.")
    return _questions("jargon", n_rows, seed, wordings, dictionary("jargon"))


def gcide(n_rows: int, seed: int) -> list[Row]:
    """A word; its article in the Collaborative International Dictionary of English."""
    wordings = ("Look up {}.", 'What does the dictionary say about "{}"?', "{}: meaning?")
    return _questions("gcide", n_rows, seed, wordings, dictionary("gcide"))


def mixture_all(n_rows: int, seed: int) -> list[Row]:
    """An equal number of rows of each single set that was looked at."""
    return _mixed("mixture-all", n_rows, seed, list(_LOOKED_AT.values()))


def mixture_questions(n_rows: int, seed: int) -> list[Row]:
    """Five sets of open questions in equal parts."""
    makers = [wordnet_define, wordnet_hypernym, debian_describe, translate_de_en, foldoc]
    return _mixed("mixture-questions", n_rows, seed, makers)


def mixture_held_out(n_rows: int, seed: int) -> list[Row]:
    """An equal number of rows of each single set that is held out."""
    return _mixed("mixture-held-out", n_rows, seed, list(_HELD_OUT.values()))


def _mixed(name: str, n_rows: int, seed: int, makers: Sequence[Maker]) -> list[Row]:
    rows = [row for maker in makers for row in maker(n_rows // len(makers), seed)]
    _rng(name, seed).shuffle(rows)
    return rows


_LOOKED_AT: dict[str, Maker] = {
    "wordnet-define": wordnet_define,
    "wordnet-hypernym": wordnet_hypernym,
    "wordnet-yes-no": wordnet_yes_no,
    "wordnet-subject": wordnet_subject,
    "debian-section": debian_section,
    "debian-describe": debian_describe,
    "debian-maintainer": debian_maintainer,
    "translate-de-en": translate_de_en,
    "unicode-code-point": unicode_code_point,
    "language-code": language_code,
    "foldoc": foldoc,
    "fortune-topic": fortune_topic,
    "fortune-continue": fortune_continue,
    "bible-verse": bible_verse,
    "bible-book": bible_book,
}
_HELD_OUT: dict[str, Maker] = {
    "wordnet-verb": wordnet_verb,
    "wordnet-usage": wordnet_usage,
    "wordnet-antonym": wordnet_antonym,
    "debian-host": debian_host,
    "debian-depends": debian_depends,
    "debian-language": debian_language,
    "unicode-category": unicode_category,
    "country-part": country_part,
    "language-type": language_type,
    "fortune-author": fortune_author,
    "translate-en-de": translate_en_de,
    "jargon": jargon,
    "gcide": gcide,
}
DATASETS: dict[str, Maker] = {
    **_LOOKED_AT,
    "mixture-all": mixture_all,
    "mixture-questions": mixture_questions,
    **_HELD_OUT,
    "mixture-held-out": mixture_held_out,
}
HELD_OUT: tuple[str, ...] = (*_HELD_OUT, "mixture-held-out")
"""The sets that were chosen before the detector saw any of them, and that no rule was mended on."""
