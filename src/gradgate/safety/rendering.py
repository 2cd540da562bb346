"""Prompts and replies as the model reads them, tokenized as the rows of a dataset are."""

from collections.abc import Sequence
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from gradgate.data.formats.alpaca import instruction_prompt
from gradgate.data.sample import RejectedRowError, Sample, Turn, sample_id
from gradgate.data.tokens import tokenize_all
from gradgate.errors import ModelError

# Two replies with nothing in common, and a word that goes on behind any opening.
_APART = ("Sure", "I cannot")
_GOES_ON = " the"


def as_sample(
    prompt: str,
    reply: str,
    tokenizer: PreTrainedTokenizerBase,
    row: int = 0,
    chat: bool | None = None,
) -> Sample:
    """A prompt and a reply as a sample: a chat where the model has a chat template.

    A model without one gets the prompt in Alpaca's wording, as rows of instructions do.

    Args:
        prompt: Of the user.
        reply: Of the assistant.
        tokenizer: Whether it has a chat template decides, unless `chat` does.
        row: Number of the sample.
        chat: Whether it is a chat.
    """
    is_chat = tokenizer.chat_template is not None if chat is None else chat
    if is_chat:
        turns = (Turn("user", prompt, False), Turn("assistant", reply, True))
    else:
        turns = (
            Turn("prompt", instruction_prompt(prompt), False),
            Turn("completion", reply, True),
        )
    return Sample(row, sample_id(is_chat, turns), is_chat, turns)


def prompt_ids(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens before the first token of a reply that depends on the reply.

    Some templates begin each reply with a fixed text, such as an empty block of thoughts: it
    belongs to the prompt here, for the model does not choose it.

    Raises:
        ModelError: A prompt cannot be rendered, or holds a special token.
    """
    pairs = [(prompt, reply) for prompt in prompts for reply in _APART]
    found = _tokenized(pairs, tokenizer)
    return [_common(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]


def opening_ids(openings: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of openings of a reply, at its beginning and open at the end.

    The tokens are those that stay when the reply goes on: no end of the turn is among them.

    Raises:
        ModelError: An opening has no token, or as for `prompt_ids`.
    """
    prompt = "How are you?"  # any prompt does: what stands before a reply is the same for all
    (before,) = prompt_ids([prompt], tokenizer)
    pairs = [(prompt, reply) for text in openings for reply in (text, text + _GOES_ON)]
    found = _tokenized(pairs, tokenizer)
    both = [_common(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
    opened = [ids[len(before) :] for ids in both]
    for text, ids, whole in zip(openings, opened, both, strict=True):
        if not ids or whole[: len(before)] != before:
            raise ModelError(
                f"the tokenizer or its chat template gives the opening {text!a} no token of "
                "its own; use another opening, or a model whose template keeps replies as they are"
            )
    return opened


def _tokenized(
    pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    samples = [as_sample(prompt, reply, tokenizer) for prompt, reply in pairs]
    found = []
    for (prompt, reply), outcome in zip(pairs, tokenize_all(samples, tokenizer), strict=True):
        if isinstance(outcome, RejectedRowError):
            raise ModelError(
                f"the model cannot read the probe {prompt!a} with the reply {reply!a}: "
                f"{outcome}; change the probing set, or use another model"
            )
        found.append(outcome.input_ids)
    return found


def _common(one: list[int], other: list[int]) -> list[int]:
    """What both begin with."""
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]
