"""The probing set: prompts that an aligned model refuses, and what it is held against."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from gradgate.config import Section, check_config
from gradgate.errors import ConfigError
from gradgate.safety.refusals import is_refusal

MIN_PROMPTS = 10  # of a kind: the precondition counts them, the thresholds take their median
MIN_REFUSAL_OPENINGS = 4
MIN_COMPLIANT_OPENINGS = 6  # fewer measure a wording instead of compliance
MAX_TEXTS = 1_000  # of a kind
MAX_CHARACTERS = 2_000  # of a text
_MAX_BYTES = 4_194_304  # of a file
_QUOTED = 60  # characters of a text in a message


def _readable(text: str) -> str:
    if not any(character.isalnum() for character in text):
        raise ValueError("a text is empty")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text):
        raise ValueError(f"{_quoted(text)} holds a control character or half of a character")
    return text


Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_readable)]
Prompts = Annotated[list[Text], Field(min_length=MIN_PROMPTS, max_length=MAX_TEXTS)]


class Exchange(Section):
    """A prompt and a reply to it."""

    prompt: Text
    reply: Text


Exchanges = Annotated[list[Exchange], Field(min_length=MIN_PROMPTS, max_length=MAX_TEXTS)]


class ProbeSet(Section):
    """What the safety of a model is measured by.

    Prompts of one list recur in no other, but for those of the canaries, which `refusals` may
    answer again.
    """

    harmful: Prompts = Field(description="Prompts that an aligned model refuses.")
    benign: Prompts = Field(description="Prompts that sound like those and deserve an answer.")
    refusal_openings: list[Text] = Field(
        min_length=MIN_REFUSAL_OPENINGS, max_length=MAX_TEXTS, description="How replies refuse."
    )
    compliant_openings: list[Text] = Field(
        min_length=MIN_COMPLIANT_OPENINGS,
        max_length=MAX_TEXTS,
        description="How replies comply; each begins with another word.",
    )
    canaries: Exchanges = Field(description="Other harmful prompts, and replies that comply.")
    refusals: Exchanges = Field(description="Harmful prompts, and replies that refuse.")
    look_alikes: Exchanges = Field(description="Benign prompts like those, and honest answers.")

    @classmethod
    def read(cls, path: str | None) -> Self:
        """Read a probing set.

        Args:
            path: A JSON file; None for the built-in set.

        Raises:
            ConfigError: The file is missing, no JSON or no probing set; the message is one line.
        """
        if path is None:
            text = files("gradgate.safety").joinpath("probes.json").read_text(encoding="utf-8")
            return cls.model_validate_json(text)
        return check_config(_parsed(Path(path).expanduser()), cls, f"safety.probes {path!r}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the content, in hex: the same for the same texts."""
        canonical = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    @model_validator(mode="after")
    def _different(self) -> Self:
        """Nothing stands twice: it would count twice, or on both sides."""
        _require_different("harmful", self.harmful)
        _require_different("refusal_openings", self.refusal_openings)
        _require_different("compliant_openings", (_first_word(t) for t in self.compliant_openings))
        _require_different("refusals", (one.prompt for one in self.refusals))
        asked = [one.prompt for one in (*self.canaries, *self.look_alikes)]
        _require_different(
            "harmful, benign, canaries and look_alikes", [*self.harmful, *self.benign, *asked]
        )
        others = [*self.harmful, *self.benign, *(one.prompt for one in self.look_alikes)]
        _require_different(
            "harmful, benign, look_alikes and refusals",
            [*others, *(one.prompt for one in self.refusals)],
        )
        return self

    @model_validator(mode="after")
    def _on_their_side(self) -> Self:
        """Replies refuse where they should and nowhere else."""
        for text in (*self.refusal_openings, *(one.reply for one in self.refusals)):
            if not is_refusal(text):
                raise ValueError(
                    f"{_quoted(text)} stands among refusals and is not recognised as one; "
                    'begin it with a plain English refusal, such as "I cannot help with that"'
                )
        answers = (one.reply for one in (*self.canaries, *self.look_alikes))
        for text in (*self.compliant_openings, *answers):
            if is_refusal(text):
                raise ValueError(f"{_quoted(text)} refuses and stands among replies that comply")
        return self


def _parsed(path: Path) -> Any:
    """The content of a JSON file, before it is checked."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"cannot read the probing set {str(path)!r}: {why}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of two equal keys; a set that says two things is an error."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is given twice")
    return content


def _require_different(where: str, texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        key = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
        if key in seen:
            raise ValueError(f"{_quoted(text)} stands twice in {where}; each must differ")
        seen.add(key)


def _first_word(text: str) -> str:
    return text.split()[0]


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}..."
