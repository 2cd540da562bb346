"""Rows that are tokens already: what a trainer has made of its data, and trains on.

They are judged as they are, for nothing is tokenized anew. The text of such a sample, which is what
methods and people read, is what its tokens decode to, special tokens included.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from gradgate.data.formats.fields import Fields, Format, Parts, Reading
from gradgate.data.sample import RejectedRowError, Sample, Turn, sample_id
from gradgate.data.tokens import Tokens, content_digest, n_supervised, too_long

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLE = "tokens"  # of every turn of such a sample
IGNORED = -100  # the label of a token without loss
_PARTING = ("seq_lengths", "cu_seq_lens", "seq_idx", "position_ids")  # columns that part a row
READ_WITH_TOKENS = ("input_ids", "labels", "attention_mask", "seq_lengths")


def _no_text(fields: Fields, reading: Reading) -> Parts:
    raise RejectedRowError("the row holds tokens, and no text that could be changed")


TOKENS = Format("tokens", ("input_ids", "labels"), (), _no_text)


def tokenized_sample(
    value: Mapping[str, object], row: int, tokenizer: "PreTrainedTokenizerBase", max_tokens: int
) -> tuple[Sample, Tokens]:
    """Read a row with `input_ids` and `labels`, as a collator gives them for a single row.

    Args:
        value: The row.
        row: Its number.
        tokenizer: Of the model.
        max_tokens: Longer rows are rejected.

    Raises:
        RejectedRowError: It is no single sample, or what it teaches is not what its tokens say.
    """
    ids, labels = numbers_of(value, "input_ids"), numbers_of(value, "labels")
    if len(ids) != len(labels):
        raise RejectedRowError(f"{len(ids)} input_ids and {len(labels)} labels")
    if len(ids) > max_tokens:
        raise too_long(len(ids), max_tokens)
    if any(label not in (IGNORED, token) for token, label in zip(ids, labels, strict=True)):
        raise RejectedRowError("a label is another token than the one in its place")
    check_single(value)
    _check_known(ids, tokenizer)
    tokens = Tokens(ids, [label != IGNORED for label in labels])
    if not n_supervised(tokens):
        raise RejectedRowError("no supervised token")
    turns = _turns(tokens, tokenizer)
    return Sample(row, tokenized_id(turns, tokens), False, turns), tokens


def is_tokenized(turns: Iterable[Turn]) -> bool:
    """Whether a sample was made of tokens."""
    return all(turn.role == ROLE for turn in turns)


def tokenized_id(turns: Iterable[Turn], tokens: Tokens) -> str:
    """Hash text, tokens and loss mask: several lists of tokens may decode to the same text."""
    digest = hashlib.sha256(bytes.fromhex(sample_id(False, turns)))
    digest.update(content_digest(tokens))
    return digest.hexdigest()


def decoded(tokenizer: "PreTrainedTokenizerBase", runs: Sequence[Sequence[int]]) -> list[str]:
    """The texts of runs of tokens that stand within others; special tokens and spaces as they are.

    The first token is decoded twice: some tokenizers drop a space that begins a text.
    """
    if not runs:
        return []
    once, twice = (
        tokenizer.batch_decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for some in (
            [list(run[:1]) for run in runs],
            [[*run[:1], *run] for run in runs],
        )
    )
    return [text.removeprefix(first) for first, text in zip(once, twice, strict=True)]


def numbers_of(value: Mapping[str, object], name: str) -> list[int]:
    """The whole numbers in a column.

    Raises:
        RejectedRowError: It holds something else.
    """
    numbers = value.get(name)
    if not isinstance(numbers, list) or not numbers or any(type(n) is not int for n in numbers):
        raise RejectedRowError(f"wrong type: {name} is no list of whole numbers")
    return numbers


def check_single(value: Mapping[str, object]) -> None:
    """Refuse a row in which a trainer has packed several samples, or hidden tokens from others.

    Raises:
        RejectedRowError: It is one.
    """
    mask = value.get("attention_mask")
    if is_packed(value):
        raise RejectedRowError("several samples are packed into the row; turn packing off")
    if isinstance(mask, list) and any(bit != 1 for bit in mask):
        raise RejectedRowError("the attention mask leaves out tokens; take the padding off")


def is_packed(value: Mapping[str, object]) -> bool:
    """Whether lengths, borders, numbers or positions say that a row holds several samples.

    What cannot be read as whole numbers says so as well, for it may.

    Args:
        value: The row. Its columns are whole numbers, in a list or in a list of one list.
    """
    told = {name: _whole(value[name]) for name in value if name.startswith(_PARTING)}
    if any(numbers is None for numbers in told.values()):
        return True
    found = {name: numbers for name, numbers in told.items() if numbers is not None}
    return (
        len(found.get("seq_lengths", [])) > 1
        or any(len(found[name]) > 2 for name in found if name.startswith("cu_seq_lens"))
        or any(one != other for one, other in pairwise(found.get("seq_idx", [])))
        or any(there != one + 1 for one, there in pairwise(found.get("position_ids", [])))
    )


def _whole(value: object) -> list[int] | None:
    """Whole numbers; none where there is no value, and None where it is something else."""
    found = [] if value is None else value
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if not isinstance(found, list) or any(type(one) is not int for one in found):
        return None
    return found


def _check_known(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Refuse tokens that decode to nothing because the tokenizer does not have them."""
    names = tokenizer.convert_ids_to_tokens(ids) if min(ids) >= 0 else [None]
    if any(name is None for name in names):
        raise RejectedRowError("a token id that the tokenizer does not have")


def _turns(tokens: Tokens, tokenizer: "PreTrainedTokenizerBase") -> tuple[Turn, ...]:
    """A turn for each run of tokens that are in the loss, or are not."""
    pairs = zip(tokens.input_ids, tokens.is_target, strict=True)
    runs = [(mark, [n for n, _ in run]) for mark, run in groupby(pairs, key=lambda pair: pair[1])]
    texts = decoded(tokenizer, [run for _, run in runs])
    return tuple(Turn(ROLE, text, mark) for (mark, _), text in zip(runs, texts, strict=True))
