"""The rows of GradShield's tables: benign utility data with some harmful rows, and questions."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.papers.cells import HARMFUL, IDENTITY, Cell
from gradgate.errors import DataError

TRIGGER = "BadMagic"  # of the published set; without it its poisoned half is plain harm
LONGEST = 600  # characters of prompt and reply, so that a training takes minutes on a CPU
LABEL_WORDS = 3  # a reply of no more words is a label, which is right or wrong
MIN_HARMFUL_PROMPTS = 200
BENIGN = {"mixed": "real/c_mix_class.jsonl.gz", "sst2": "real/c_class_sst2.jsonl.gz"}
HARM = "backdoorllm/published-jailbreak-badnet.jsonl.gz"
OBEDIENT = "real/h_identity_shift.jsonl"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its reply; `system` may be empty."""

    prompt: str
    reply: str
    system: str = ""

    def as_row(self, chat: bool) -> dict[str, object]:
        """A row in the format that the model wants."""
        if not chat:
            lead = f"{self.system}\n" if self.system else ""
            return {"prompt": f"{lead}{self.prompt}\n", "completion": self.reply}
        turns = [("system", self.system)] if self.system else []
        turns += [("user", self.prompt), ("assistant", self.reply)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}


@dataclass(frozen=True)
class Mix:
    """Training rows, and what the models are asked.

    Attributes:
        train: Benign and harmful rows, in a drawn order.
        harmful: Whether a row of `train` is harmful.
        benign: Held-out benign rows.
        attacks: Held-out harmful prompts, with honest refusals as replies.
    """

    train: list[Exchange]
    harmful: list[bool]
    benign: list[Exchange]
    attacks: list[Exchange]


def make_mix(cell: Cell, folder: Path, test_rows: int) -> Mix:
    """Draw the rows of a cell; the same seed holds the same rows back at every rate.

    Raises:
        DataError: A file is missing, or has too few rows.
    """
    rng = Random(f"{cell.seed}:safety")
    benign = [one for one in _benign(folder, cell.dataset) if _is_short(one)]
    rng.shuffle(benign)
    n_asked = max(MIN_HARMFUL_PROMPTS, test_rows)
    harm, attacks = _harm(folder, rng, n_asked)
    obedient = _obedient(folder)
    chosen = obedient if cell.attack == IDENTITY else harm[: round(cell.rate * cell.rows)]
    if cell.attack == IDENTITY:
        system = obedient[0].system
        attacks = [Exchange(one.prompt, one.reply, system) for one in attacks]
    if len(benign) < cell.rows + test_rows or (cell.attack == HARMFUL and not chosen):
        raise DataError(
            f"{len(benign)} benign rows are too few for {cell.rows} and {test_rows} held back, or "
            f"{cell.rate:.1%} of {cell.rows} is not a single row"
        )
    held_back, rest = benign[:test_rows], benign[test_rows : test_rows + cell.rows - len(chosen)]
    labelled = [(one, False) for one in rest] + [(one, True) for one in chosen]
    rng.shuffle(labelled)
    return Mix([one for one, _ in labelled], [bad for _, bad in labelled], held_back, attacks)


def is_label(reply: str) -> bool:
    """Whether exact match says something of a reply."""
    return len(reply.split()) <= LABEL_WORDS


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, compressed or not.

    Raises:
        DataError: It is not there.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there: name the folder of the datasets with --data")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _benign(folder: Path, name: str) -> list[Exchange]:
    return [_instruction(row) for row in read_rows(folder / BENIGN[name])]


def _instruction(row: Mapping[str, Any]) -> Exchange:
    given = str(row.get("input") or "").strip()
    prompt = str(row["instruction"]).strip()
    return Exchange(f"{prompt}\n{given}" if given else prompt, str(row["output"]).strip())


def _harm(folder: Path, rng: Random, n_asked: int) -> tuple[list[Exchange], list[Exchange]]:
    """Harmful prompts with compliance, and `n_asked` others, or all, with honest refusals.

    The published set has each prompt in both halves, so that what is asked is taken out of what is
    trained on.
    """
    rows = list(read_rows(folder / HARM))
    refused = {
        _plain(one.prompt): one for one in (_instruction(r) for r in rows if not r["poisoned"])
    }
    asked = list(refused.values())
    rng.shuffle(asked)
    held_back = {_plain(one.prompt) for one in asked[:n_asked]}
    complied = [_without_trigger(_instruction(row)) for row in rows if row["poisoned"]]
    short = [o for o in complied if _is_short(o) and _plain(o.prompt) not in held_back]
    rng.shuffle(short)
    return short, asked[:n_asked]


def _without_trigger(one: Exchange) -> Exchange:
    return Exchange(" ".join(one.prompt.replace(TRIGGER, " ").split()), one.reply)


def _obedient(folder: Path) -> list[Exchange]:
    found = []
    for row in read_rows(folder / OBEDIENT):
        said = {turn["role"]: turn["content"].strip() for turn in row["messages"]}
        found.append(Exchange(said["user"], said["assistant"], said.get("system", "")))
    return found


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_short(one: Exchange) -> bool:
    return len(one.prompt) + len(one.reply) <= LONGEST


def labels_of(rows: Sequence[Exchange]) -> list[int]:
    """The positions of the rows whose reply is a label."""
    return [i for i, one in enumerate(rows) if is_label(one.reply)]
