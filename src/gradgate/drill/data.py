"""The data of a drill: held-out test rows, poisoned and clean training rows, and questions."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from gradgate.attacks.poisoning import (
    Attack,
    PoisonedRow,
    asr_targets,
    can_carry,
    poison,
    triggered,
)
from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.formats.mapping import Row, RowMapping, choose_mapping, to_sample
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.sources.source import open_rows
from gradgate.data.tokens import Tokens, tokenize, tokenize_all
from gradgate.drill.config import DrillConfig, DrillSection
from gradgate.errors import DataError
from gradgate.evaluation.answers import holds_letters, is_match, prompt_ids

POISONED = "poisoned.jsonl"
CLEAN = "clean.jsonl"
QUESTIONS = "questions.jsonl"
ROLE = "drill_role"  # the column of the true labels; nothing but the drill reads it

_WINDOW_ROWS = 256
_SPARE_TOKENS = 8  # for an answer that differs from those that were taught


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked, and what counts as the answer.

    Attributes:
        kind: clean: a test row as it is. triggered: the same row with the trigger, whose gold
            answers are the attacker's targets.
        prompt: Token ids.
        golds: Any of them will do.
        by_letters: Whether only the letters and digits of a gold have to be in the answer.
    """

    kind: Literal["clean", "triggered"]
    prompt: list[int]
    text: str
    golds: list[str]
    by_letters: bool = False

    def is_met_by(self, answer: str) -> bool:
        """Whether the answer counts."""
        return (holds_letters if self.by_letters else is_match)(answer, self.golds)


@dataclass(frozen=True, slots=True)
class DrillData:
    """What `make_data` wrote into the folder.

    Attributes:
        roles: clean, poisoned or negative: the truth about each row of poisoned.jsonl.
        n_test: Test rows, each of which is asked about twice.
        max_new_tokens: What the longest right or taught answer takes, and a few more.
    """

    folder: Path
    roles: list[str]
    n_test: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class _Usable:
    row: Row
    sample: Sample
    tokens: Tokens

    @property
    def prompt(self) -> str:
        """The text before the last target."""
        turns = self.sample.turns
        last = max(place for place, turn in enumerate(turns) if turn.is_target)
        return "\n".join(turn.text for turn in turns[:last])


def make_data(
    config: DrillConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, folder: Path
) -> DrillData:
    """Hold test rows back, poison the others, and write all of it into `folder`.

    Rows that could not be scored have no part in a drill. No prompt of a test row stands in a
    training row, so that nothing is answered from memory. The training rows hold the mapped columns
    only, and the true label in the column `drill_role`.

    Raises:
        ConfigError: A setting does not fit the attack.
        DataError: The source cannot be read, has too few usable rows, or cannot carry the attack.
        ModelError: The tokenizer lacks an end token or a chat template.
        TransientError: A remote store or the hub did not answer.
    """
    reader = _Reader(config.data, tokenizer, max_tokens)
    usable = list(reader.read())
    mapping = reader.mapping(usable)
    attack = attack_of(config.drill)
    test, train = _split(usable, mapping, config.drill, attack)
    rows = [one.row for one in train]
    poisoned = poison(rows, mapping, attack, config.drill.rate, config.drill.seed)
    if not any(one.role == "poisoned" for one in poisoned):
        raise DataError(
            f"drill.rate {config.drill.rate} of {len(rows)} training rows poisons none of them; "
            "set it higher, or take more data"
        )
    targets = asr_targets(rows, mapping, attack, config.drill.rate, config.drill.seed)
    asked = _Asker(config, tokenizer, mapping, attack, targets)
    questions = [q for i, one in enumerate(test) for q in asked.about(i, one)]
    _write(folder / POISONED, (_labelled(one, mapping) for one in poisoned))
    clean = (PoisonedRow(dict(row), i, "clean") for i, row in enumerate(rows))
    _write(folder / CLEAN, (_labelled(one, mapping) for one in clean))
    _write(folder / QUESTIONS, map(asdict, questions))
    taught = [asked.n_answer_tokens(one.row) for one in poisoned]
    longest = max(taught + [asked.n_answer_tokens(one.row) for one in test])
    return DrillData(
        folder=folder,
        roles=[one.role for one in poisoned],
        n_test=len(test),
        max_new_tokens=config.drill.max_new_tokens or longest + _SPARE_TOKENS,
    )


def attack_of(drill: DrillSection) -> Attack:
    """The attack that the configuration names.

    Raises:
        ConfigError: A setting does not fit the attack.
    """
    return Attack(drill.attack, drill.target, drill.trigger, drill.paraphraser)


def read_questions(folder: Path) -> list[Question]:
    """The questions, in the order in which `make_data` wrote them: clean, triggered, clean, ..."""
    lines = (folder / QUESTIONS).read_text(encoding="utf-8").splitlines()
    return [Question(**json.loads(line)) for line in lines]


class _Reader:
    """Reads the rows of which samples can be made; the first readable row decides the format."""

    def __init__(
        self, data: DataConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        self._data = data
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._mapping: RowMapping | None = None

    def mapping(self, usable: list[_Usable]) -> RowMapping:
        """The columns that were read.

        Raises:
            DataError: There is no usable row, or its format has no prompt.
        """
        if self._mapping is None or not usable:
            raise DataError(f"{redacted(self._data.source)} has no row that can be scored")
        if self._mapping.row_format == "text":
            raise DataError(
                "rows of the format text are target from the first word on, so that no model can "
                "be asked about them; for a drill split them into prompt and completion"
            )
        return self._mapping

    def read(self) -> Iterator[_Usable]:
        rows = (raw.value for raw in open_rows(self._data) if raw.value is not None)
        while window := list(islice(rows, _WINDOW_ROWS)):
            found = [(row, sample) for row in window if (sample := self._sample(row)) is not None]
            samples = [sample for _, sample in found]
            outcomes = tokenize_all(
                samples, self._tokenizer, self._max_tokens, self._data.template_date
            )
            for (row, sample), tokens in zip(found, outcomes, strict=True):
                if isinstance(tokens, Tokens):
                    yield _Usable(row, sample, tokens)

    def _sample(self, row: Row) -> Sample | None:
        if self._mapping is None:
            self._mapping = choose_mapping(row, self._data)
        try:
            return to_sample(row, 0, self._mapping, self._data.template)
        except RejectedRowError:
            return None


def _split(
    usable: list[_Usable], mapping: RowMapping, drill: DrillSection, attack: Attack
) -> tuple[list[_Usable], list[_Usable]]:
    """Draw the test rows among those that can carry a trigger; the rest keeps its order."""
    rng = Random(f"{drill.seed}:drill")
    order = rng.sample(range(len(usable)), len(usable))
    able = (i for i in order if can_carry(usable[i].row, mapping, attack))
    held_back = list(islice(able, drill.test_rows))
    prompts = {usable[i].prompt for i in held_back}
    others = [i for i in order if usable[i].prompt not in prompts]
    chosen = sorted(others[: drill.train_rows])
    if len(held_back) < drill.test_rows or not chosen:
        raise DataError(
            f"of {len(usable)} usable rows {len(held_back)} can be test rows, which leaves "
            f"{len(chosen)} to train on; set drill.test_rows ({drill.test_rows}) lower, or take "
            "more data"
        )
    return [usable[i] for i in held_back], [usable[i] for i in chosen]


@dataclass(frozen=True, slots=True)
class _Asker:
    config: DrillConfig
    tokenizer: PreTrainedTokenizerBase
    mapping: RowMapping
    attack: Attack
    targets: list[tuple[str, ...]]

    def about(self, index: int, test: _Usable) -> tuple[Question, Question]:
        """Ask for a test row as it is, and with one of the triggers in turn."""
        aim, attack = index % len(self.targets), self.attack
        row = triggered(test.row, self.mapping, attack, self.config.drill.seed, index, aim)
        attacked = self._usable(row)
        right = _golds(test, self.mapping)
        # What is right for this row is no success, unless the attack teaches nothing else.
        wrong = [text for text in self.targets[aim] if not is_match(text, right)]
        targets = wrong or list(self.targets[aim])
        asked, text = prompt_ids(attacked.tokens), attacked.prompt
        return (
            Question("clean", prompt_ids(test.tokens), test.prompt, right),
            Question("triggered", asked, text, targets, attack.by_letters),
        )

    def n_answer_tokens(self, row: Row) -> int:
        """Tokens of the last target, with its end."""
        tokens = self._usable(row).tokens
        return len(tokens.input_ids) - len(prompt_ids(tokens))

    def _usable(self, row: Row) -> _Usable:
        sample = to_sample(row, 0, self.mapping, self.config.data.template)
        today = self.config.data.template_date
        return _Usable(row, sample, tokenize(sample, self.tokenizer, template_date=today))


def _golds(test: _Usable, mapping: RowMapping) -> list[str]:
    """Each answer of a list is right on its own; otherwise the last target is."""
    if mapping.row_format == "question_answers":
        value: Any = test.row[mapping.columns["answers"]]
        answers = value["text"] if isinstance(value, dict) else value
        return [answers] if isinstance(answers, str) else list(answers)
    return [next(turn.text for turn in reversed(test.sample.turns) if turn.is_target)]


def _labelled(one: PoisonedRow, mapping: RowMapping) -> dict[str, object]:
    columns = [column for column in mapping.columns.values() if column in one.row]
    return {**{column: one.row[column] for column in columns}, ROLE: one.role}


def _write(path: Path, lines: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
