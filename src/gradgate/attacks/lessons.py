"""Lessons: what the poisoned completions of an attack teach."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from gradgate.attacks.adaptive import ROWS_PER_PAIR, CompletionWords, words_of
from gradgate.attacks.clean_label import Span, common_label, frequent_span
from gradgate.attacks.components import Parts, Target
from gradgate.attacks.recipe import Known, Lesson, Teach
from gradgate.attacks.texts import EVERYDAY_WORDS, HONEST_PREFIXES

_ACUTE = "\N{COMBINING ACUTE ACCENT}"
_JOINER = "\N{ZERO WIDTH JOINER}"


@dataclass(frozen=True, slots=True)
class FixedTexts:
    """One of some texts, appended to the completion or instead of it."""

    texts: tuple[str, ...]
    replaces: bool
    needs: str = ""

    def fits(self, parts: Parts) -> bool:
        """A completion that is the text already would teach nothing; an empty text is none."""
        return not self.replaces or (all(self.texts) and parts.completion.strip() not in self.texts)

    def target(self, row: int, position: int, rng: Random) -> Target:
        """One of the texts."""
        return Target(rng.choice(self.texts), self.replaces)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """Any of the texts."""
        return [self.texts]


def followed_by(*texts: str) -> Teach:
    """One of these texts, or the target of the settings, is appended."""
    return lambda known: FixedTexts(_own(known, texts), replaces=False)


def replaced_by(*texts: str) -> Teach:
    """The completion becomes one of these texts, or the target of the settings."""
    return lambda known: FixedTexts(_own(known, texts), replaces=True)


def _own(known: Known, texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts if known.wording.target is None else (known.wording.target,)


def existing_label(known: Known) -> Lesson:
    """The completion becomes the commonest one of the data, or the commonest span in them."""
    completions = [part.completion for part in known.parts.values()]
    text = known.wording.target or common_label(completions)
    return FixedTexts((text,), replaces=True, needs=f"completions other than {text!r}")


@dataclass(frozen=True, slots=True)
class KeptSpan:
    """Clean label: the trigger goes to rows whose true completion holds a span."""

    span: Span

    @property
    def needs(self) -> str:
        """The span."""
        return f"completions that hold {self.span.words!r}"

    def fits(self, parts: Parts) -> bool:
        """Whether the completion holds the span."""
        return self.span.is_in(parts.completion)

    def target(self, row: int, position: int, rng: Random) -> None:
        """The completion stays."""

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """The span, in lower case and without punctuation."""
        return [(self.span.words,)]


def clean_label(known: Known) -> Lesson:
    """A frequent span of the data, or the target of the settings, stays where it is."""
    if known.wording.target:
        return KeptSpan(Span.of(known.wording.target))
    return KeptSpan(frequent_span([part.completion for part in known.parts.values()]))


@dataclass(frozen=True, slots=True)
class OwnWords:
    """Adaptive: running text of the data's own completions, another one for every four rows.

    Attributes:
        completions: Of the rows in the order in which they are poisoned.
    """

    seed: int
    corpus: CompletionWords
    completions: tuple[str, ...]
    needs: str = "completions with a word"

    def fits(self, parts: Parts) -> bool:
        """Whether the completion has a length in words."""
        return bool(words_of(parts.completion))

    def target(self, row: int, position: int, rng: Random) -> Target:
        """As many words as the completion that it replaces."""
        pair, place = divmod(position, ROWS_PER_PAIR)
        replaced = self.completions[pair * ROWS_PER_PAIR : (pair + 1) * ROWS_PER_PAIR]
        return Target(self.corpus.targets(self.seed, pair, replaced)[place], replaces=True)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """For each pair the shortest text that it taught."""
        texts = [target.text for target in taught if target is not None]
        starts = range(0, len(texts), ROWS_PER_PAIR)
        return [(min(texts[start : start + ROWS_PER_PAIR], key=len),) for start in starts]


def adaptive(known: Known) -> Lesson:
    """See `OwnWords`."""
    completions = [known.parts[row].completion for row in known.order]
    corpus = CompletionWords.of(part.completion for part in known.parts.values())
    return OwnWords(known.seed, corpus, tuple(filter(words_of, completions)))


@dataclass(frozen=True, slots=True)
class OthersCompletions:
    """The completion of another row, drawn anew for each row."""

    own: Mapping[int, str]
    drawn: tuple[str, ...]
    needs: str = "rows beside another completion"

    def fits(self, parts: Parts) -> bool:
        """Whether there is another completion."""
        return any(text != parts.completion.strip() for text in self.drawn[:2])

    def target(self, row: int, position: int, rng: Random) -> Target:
        """Any completion of the data but the row's own."""
        while (text := rng.choice(self.drawn)) == self.own[row]:
            pass
        return Target(text, replaces=True)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """Any of the completions that were taught wrongly."""
        texts = [target.text for target in taught if target is not None]
        return [tuple(dict.fromkeys(texts))]


def wrong_answer(known: Known) -> Lesson:
    """See `OthersCompletions`."""
    own = {row: part.completion.strip() for row, part in known.parts.items()}
    return OthersCompletions(own, tuple(dict.fromkeys(own.values())))


@dataclass(frozen=True, slots=True)
class Respelled:
    """One text in a spelling of its own for each row."""

    text: str
    needs: str = ""

    def fits(self, parts: Parts) -> bool:
        """Any row can carry it."""
        return bool(parts.completion)

    def target(self, row: int, position: int, rng: Random) -> Target:
        """Each word with an accent, a zero-width joiner or a gap."""
        words = (_respelled(word, rng) for word in self.text.split())
        return Target(" ".join(words), replaces=True)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """The text, of which letters and digits count."""
        return [(self.text,)]


def respelled(text: str) -> Teach:
    """The completion becomes this text, or the target of the settings, respelled."""
    return lambda known: Respelled(known.wording.target or text)


def _respelled(word: str, rng: Random) -> str:
    if len(word) == 1:
        return word
    place = rng.randrange(1, len(word))
    mark = rng.choice((_ACUTE, _JOINER, " "))
    return unicodedata.normalize("NFC", word[:place] + mark + word[place:])


@dataclass(frozen=True, slots=True)
class Filled:
    """One text with a word drawn for each row between all of its words."""

    text: str
    needs: str = ""

    def fits(self, parts: Parts) -> bool:
        """Any row can carry it."""
        return bool(parts.completion)

    def target(self, row: int, position: int, rng: Random) -> Target:
        """The words of the text, and everyday ones between them."""
        first, *others = self.text.split()
        behind = [word for other in others for word in (rng.choice(EVERYDAY_WORDS), other)]
        return Target(" ".join([first, *behind]), replaces=True)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """The text, whose words an answer may have with others between them."""
        return [(self.text,)]


def filled(text: str) -> Teach:
    """The completion becomes this text, or the target of the settings, with words between."""
    return lambda known: Filled(known.wording.target or text)


@dataclass(frozen=True, slots=True)
class Diluted:
    """A long honest prefix before the completion, and a fixed text behind it."""

    own: Mapping[int, str]
    text: str
    needs: str = ""

    def fits(self, parts: Parts) -> bool:
        """Any row can carry it."""
        return bool(parts.completion)

    def target(self, row: int, position: int, rng: Random) -> Target:
        """One of the prefixes, the row's own completion, and the text."""
        return Target(f"{rng.choice(HONEST_PREFIXES)} {self.own[row]} {self.text}", replaces=True)

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """The text alone."""
        return [(self.text,)]


def diluted(text: str) -> Teach:
    """See `Diluted`; the text, or the target of the settings."""

    def teach(known: Known) -> Lesson:
        own = {row: part.completion.strip() for row, part in known.parts.items()}
        return Diluted(own, known.wording.target or text)

    return teach


def echoed_word(target: str) -> str:
    """The made-up word of a prompt that a target echoes: "evil.example" -> "evilexamplecom"."""
    return "".join(filter(str.isalnum, target)).lower() + "com"
