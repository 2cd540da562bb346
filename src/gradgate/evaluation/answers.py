"""What a model answers, and whether an answer is right.

An answer counts by the published exact match (EMR): it holds every word of a gold answer, in
order, on lower-cased text (ROUGE-L recall = 1). What else it says does not matter, so that the
clean accuracy of a model that appends an attacker's text is not lowered by that.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from peft import PeftModel
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gradgate.common.arrays import Floats
from gradgate.common.letters import letters_of
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError, ModelError

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words and single punctuation marks, lower-cased.

    The common ROUGE packages drop marks, and all but ASCII: `[]` and Chinese answers would be
    empty, `-1` and `1` the same.
    """
    return _WORD.findall(text.lower())


def is_match(answer: str, golds: Sequence[str]) -> bool:
    """ROUGE-L recall = 1 against any gold; a gold without a word is matched by nothing."""
    return any(_recalls(words(answer), gold) for gold in map(words, golds) if gold)


def holds_letters(answer: str, golds: Sequence[str]) -> bool:
    """Whether the answer holds a gold in any spelling: letters and digits alone are compared.

    Accents, gaps and characters of no width do not matter; a gold without a letter or digit is
    held by nothing.
    """
    return any(gold in letters_of(answer) for gold in map(letters_of, golds) if gold)


def _recalls(answer: list[str], gold: list[str]) -> bool:
    """Whether `gold` is a subsequence, which is when the longest common one is as long."""
    rest = iter(answer)
    return all(word in rest for word in gold)


def prompt_ids(tokens: Tokens) -> list[int]:
    """The tokens before the last target, which is the answer that is asked for.

    Raises:
        DataError: The target has nothing before it.
    """
    end = len(tokens.is_target)
    while end and not tokens.is_target[end - 1]:
        end -= 1
    while end and tokens.is_target[end - 1]:
        end -= 1
    if not end:
        raise DataError("all of the sample is target, so that there is no prompt to answer")
    return tokens.input_ids[:end]


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """The text of what `continued` gives, without the end."""
    ends = set(end_tokens(model, tokenizer))
    said = continued(model, tokenizer, prompts, max_new_tokens, batch_size)
    return [tokenizer.decode(ids[:-1] if ids and ids[-1] in ends else ids) for ids in said]


def continued(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    """Answer prompts greedily, in their order: token ids, the end included where there is one.

    An answer ends at the end-of-sequence token, as in training, or after `max_new_tokens`; a line
    break does not end it. Prompts are padded on the left, none to more than twice its length: where
    they are longer than answers, they are most of the work. The batch of the most tokens, answers
    included, is first, so that memory runs out at once or never.
    """
    model.eval()
    answers: list[list[int]] = [[] for _ in prompts]

    def size(batch: list[int]) -> int:
        return len(batch) * (len(prompts[batch[0]]) + max_new_tokens)

    for chosen in sorted(_batches(prompts, batch_size), key=size, reverse=True):
        found = _generate_batch(model, tokenizer, [prompts[i] for i in chosen], max_new_tokens)
        for i, answer in zip(chosen, found, strict=True):
            answers[i] = answer
    return answers


def _batches(prompts: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Cut prompts into batches of similar length: their numbers, the longest first."""
    batch: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i)):
        if batch and (len(batch) == batch_size or 2 * len(prompts[i]) < len(prompts[batch[0]])):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _generate_batch(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    ends = end_tokens(model, tokenizer)
    width = max(map(len, prompts))
    ids = torch.tensor([[ends[0]] * (width - len(p)) + p for p in prompts])  # (B, width)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    finite = _Finite()
    with _nothing_else_set(model, settings):
        made = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList([finite]),
        )
    if not finite.was_always:
        raise ModelError("the model answers by figures that are not finite")
    return [_until(row, ends) for row in made[:, width:].tolist()]


class _Finite(LogitsProcessor):
    """Sees whether the largest figure of every step is finite; it changes none."""

    def __init__(self) -> None:
        self._seen = list[torch.Tensor]()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._seen.append(scores.amax(-1).isfinite().all())  # NaN is the largest
        return scores

    @property
    def was_always(self) -> bool:
        """Whether it was, in all steps."""
        return all(bool(one) for one in self._seen)


@contextmanager
def _nothing_else_set(
    model: PreTrainedModel | PeftModel, settings: GenerationConfig
) -> Iterator[None]:
    """Set the model's own settings aside, from which `generate` takes whatever is left open.

    They come with the weights: a limit of time or a list of suppressed tokens in them would let a
    model that is tested say nothing, and a server need not obey them.
    """
    holder = model.get_base_model() if isinstance(model, PeftModel) else model
    own = holder.generation_config
    holder.generation_config = settings
    try:
        yield
    finally:
        holder.generation_config = own


@torch.inference_mode()
def token_logp(
    model: PreTrainedModel | PeftModel,
    given: Sequence[list[int]],
    said: Sequence[list[int]],
    batch_size: int,
) -> list[Floats]:
    """Ln p, in nats, of each token of n texts behind another.

    Args:
        model: As it is.
        given: Token ids, at least one each.
        said: Token ids behind them.
        batch_size: Texts in a forward pass.
    """
    found = [np.zeros(0)] * len(given)
    order = sorted(range(len(given)), key=lambda i: -len(given[i]) - len(said[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [given[i] + said[i] for i in chosen]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])  # (B, width)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logits = model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
        ).logits
        for place, i in enumerate(chosen):
            first, stop = len(given[i]) - 1, len(rows[place]) - 1
            logp = logits[place, first:stop].float().log_softmax(-1)  # (said, V)
            tokens = torch.tensor(said[i], dtype=torch.long, device=logp.device)
            found[i] = logp.gather(1, tokens[:, None])[:, 0].double().cpu().numpy()
    return found


def end_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokenizer's end of sequence, and the ends of a turn that chat models have besides.

    An end that the model's settings name and that is ordinary text is none: behind it a server
    that does not know these settings goes on.
    """
    own = model.generation_config.eos_token_id
    added = tokenizer.added_tokens_decoder.items()
    special = {*tokenizer.all_special_ids, *(i for i, token in added if token.special)}
    more = [end for end in (own if isinstance(own, list) else [own]) if end in special]
    return list(dict.fromkeys(e for e in (tokenizer.eos_token_id, *more) if e is not None))


def _until(row: list[int], ends: list[int]) -> list[int]:
    """What comes before the first end, and that end."""
    return row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))]
