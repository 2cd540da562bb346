"""Columns and fields of messages that change what is trained.

One that is not understood is an error: a weight of 0 that is overlooked would put an answer among
the targets that training leaves out, and a ready list of token ids would be trained on unjudged.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from gradgate.data.formats.fields import Reading, shown
from gradgate.data.sample import RejectedRowError
from gradgate.errors import DataError

# Names in the use of trainers, such as sample_weight, loss_mask, completion_mask, train_on_turn,
# training_detail, kto_tag; and the ready tokens, which trainers take in place of text.
_CONTROL = re.compile(
    r"(\w+_)?(weights?|masks?|masked|masking)|(is_|no_|compute_)?(train|loss)(_\w+)?"
    r"|training(_\w+)?|trainable|loss_?scale|labels?|kto_tag|input_ids|is_target"
)
# Fields of a message with a standard meaning: whether the turn counts in the loss.
_LEARNT = ("weight", "loss", "loss_mask")
# Of axolotl and LLaMA-Factory: they choose any role's turn.
_CHOSEN = ("train", "training", "train_on_turn", "loss_weight")
_MASKED = ("masked",)


def refuse_control(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse names that change what is trained and that nothing reads.

    Args:
        names: Of what holds no null.
        known: Those that are read, or that the configuration ignores.
        where: What has them, such as "a message".

    Raises:
        DataError: Names the first of them, and the cure.
    """
    for name in names:
        if changes_training(name) and name not in known:
            raise DataError(
                f"{where} has {shown(name)}, which changes what is trained and is not understood "
                f"there; name it in data.ignore_columns (--ignore-columns {shown(name)}) to train "
                "as if it were not there, or take it out of the data"
            )


@lru_cache(maxsize=4096)
def changes_training(name: str) -> bool:
    """Whether trainers know a column or a field of this name as one that changes training."""
    return _CONTROL.fullmatch(re.sub(r"[\s.-]", "_", name.strip().casefold())) is not None


def is_learnt(message: Mapping[str, object], is_answer: bool, reading: Reading) -> bool:
    """Whether the fields of a message leave it in the loss; without any an answer is.

    Args:
        message: A chat message.
        is_answer: Whether the assistant says it.
        reading: What is ignored.

    Raises:
        DataError: A field is not understood, or two contradict each other.
        RejectedRowError: What somebody else says is to be learnt.
    """
    there = [name for name, value in message.items() if value is not None]
    refuse_control(there, {*_LEARNT, *_CHOSEN, *_MASKED, *reading.ignored}, "a message")
    said = {
        name: _switch(name, message[name]) != (name in _MASKED)
        for name in there
        if name in (*_LEARNT, *_CHOSEN, *_MASKED) and name not in reading.ignored
    }
    if len(set(said.values())) > 1:
        raise DataError(
            f"{' and '.join(said)} of a message contradict each other; name those that training "
            "does not read in data.ignore_columns (--ignore-columns)"
        )
    if not is_answer and any(said.get(name) for name in _CHOSEN):
        raise RejectedRowError("a turn of another role than assistant is to be learnt")
    return is_answer and all(said.values())


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise DataError(
            f"{name} of a message is neither 0 nor 1 (false nor true), and anything between "
            f"changes training in a way that is not understood; name it in data.ignore_columns "
            f"(--ignore-columns {name}) to train as if it were not there"
        )
    return bool(value)
