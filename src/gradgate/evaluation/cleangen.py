"""CleanGen (Li et al. 2024, arXiv 2406.12257): answers of a model that may be backdoored.

A defence at decoding, and no filter of data. The fine-tuned model drafts k tokens greedily, then a
clean reference model reads them. A drafted token is suspicious when the fine-tuned model finds it
alpha times as likely as the reference does, s = p / p_ref >= alpha. The first suspicious one is
replaced by the reference's likeliest token, what was drafted behind it is thrown away, and the
drafting goes on from there. Published: alpha = 20, k = 4.

Here the last draft of an answer is read by the reference too, also where it has fewer than k
tokens. The published code returns those unread, so that a short payload at the end gets through.

Known failures, which are kept:
- No token that the reference finds at least 1 / alpha = 5 % likely is ever suspicious. Backdoors
  that choose among usual answers, such as an existing label, stay.
- The reference must not have the same backdoor: a model tuned on the same data removes nothing.
- What fine-tuning is for, facts and formats that the reference lacks, looks as a payload does.
- It costs a second model for ever, and leaves the backdoor in the first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from gradgate.errors import ModelError
from gradgate.evaluation.answers import end_tokens

ALPHA = 20.0
LOOKAHEAD = 4

Model: TypeAlias = PreTrainedModel | PeftModel


@dataclass(frozen=True)
class CleanAnswer:
    """An answer, without its end-of-sequence token.

    Attributes:
        n_tokens: That were generated, with the end.
        n_replaced: Of these, by the reference model.
    """

    text: str
    n_tokens: int
    n_replaced: int


def generate(
    target: Model,
    reference: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    alpha: float = ALPHA,
    lookahead: int = LOOKAHEAD,
) -> list[CleanAnswer]:
    """Answer prompts, in their order and one at a time.

    Args:
        target: The fine-tuned model.
        reference: A model of the same vocabulary that does not have the backdoor.
        tokenizer: Of both.
        prompts: Token ids; none is empty.
        max_new_tokens: An answer ends there, or with the end of sequence.
        alpha: Ratio of probabilities from which a token is replaced.
        lookahead: Tokens that are drafted before the reference reads them, k.

    Raises:
        ModelError: The two models have different vocabularies.
    """
    sizes = [model.get_output_embeddings().weight.shape[0] for model in (target, reference)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the reference has {sizes[1]} tokens and the fine-tuned model {sizes[0]}; take a "
            "reference with the same tokenizer"
        )
    target.eval()
    reference.eval()
    ends = end_tokens(target, tokenizer)
    answers = []
    for prompt in prompts:
        pair = _Pair(target, reference, prompt, math.log(alpha))
        tokens = pair.answer(ends, max_new_tokens, lookahead)
        kept = tokens[:-1] if tokens and tokens[-1] in ends else tokens
        answers.append(CleanAnswer(tokenizer.decode(kept), len(tokens), pair.n_replaced))
    return answers


class _Reader:
    """A model that reads a growing text, and can take back the end of it.

    Attributes:
        next: Log-probabilities of the token behind what was read. (V,)
    """

    next: Tensor

    def __init__(self, model: Model, prompt: list[int]) -> None:
        self._model = model
        self._cache = DynamicCache()
        self.read(prompt)

    def read(self, ids: list[int]) -> Tensor:
        """Log-probabilities behind each of some tokens: float32 (n, V)."""
        given = torch.tensor([ids], device=self._model.device)
        output = self._model(input_ids=given, past_key_values=self._cache, use_cache=True)
        logp = torch.log_softmax(output.logits[0].float(), dim=-1)
        self.next = logp[-1]
        return logp

    def take_back(self, n: int) -> None:
        """Forget the last n tokens; `next` waits for the next reading."""
        self._cache.crop(-n)


class _Pair:
    """A model that drafts, and a reference that reads.

    Attributes:
        n_replaced: Tokens of the answer that are the reference's.
    """

    @torch.inference_mode()
    def __init__(self, target: Model, reference: Model, prompt: list[int], nats: float) -> None:
        self._target = _Reader(target, prompt)
        self._reference = _Reader(reference, prompt)
        self._nats = nats
        self.n_replaced = 0

    @torch.inference_mode()
    def answer(self, ends: list[int], max_new_tokens: int, lookahead: int) -> list[int]:
        """Tokens of the answer, the end among them."""
        tokens: list[int] = []
        while len(tokens) < max_new_tokens and not (tokens and tokens[-1] in ends):
            draft, likely = self._draft(ends, min(lookahead, max_new_tokens - len(tokens)))
            tokens += self._checked(draft, likely)
        return tokens

    def _draft(self, ends: list[int], n: int) -> tuple[list[int], list[Tensor]]:
        """Up to n greedy tokens, and the log-probability of each."""
        draft, likely = list[int](), list[Tensor]()
        while len(draft) < n and not (draft and draft[-1] in ends):
            logp, token = self._target.next.max(dim=-1)
            draft.append(int(token))
            likely.append(logp)
            self._target.read(draft[-1:])
        return draft, likely

    def _checked(self, draft: list[int], likely: list[Tensor]) -> list[int]:
        """The draft as far as nothing in it is suspicious, and the reference's token there."""
        before = self._reference.next[None]
        logp = torch.cat([before, self._reference.read(draft)])  # (n + 1, V)
        own = logp[torch.arange(len(draft)), torch.tensor(draft)]
        suspicious = torch.stack(likely).to(own.device) - own >= self._nats
        if not bool(suspicious.any()):
            return draft
        first = int(suspicious.int().argmax())
        token = int(logp[first].argmax())
        self.n_replaced += 1
        for reader in (self._target, self._reference):
            reader.take_back(len(draft) - first)
            reader.read([token])
        return [*draft[:first], token]
