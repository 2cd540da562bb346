"""The two models that are compared: what was trained, and what it was before."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Self, TypeAlias

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradgate.common.arrays import Floats
from gradgate.errors import ModelError
from gradgate.evaluation.answers import continued, end_tokens, token_logp
from gradgate.evaluation.trees import grown, takes_trees, tree_logp
from gradgate.release.answers import Answered
from gradgate.release.config import AdapterTestConfig

Model: TypeAlias = PreTrainedModel | PeftModel
_NAMED = 3  # tokens that a message names


@dataclass
class Counted:
    """What a test has cost.

    Attributes:
        n_answers: Answers that were generated.
        n_tokens: Tokens that models were asked to read and that they said; of prompts that begin
            alike each is counted, though what they share may have been read once.
        is_different: Whether the tuned model has computed something else than the one before.
    """

    n_answers: int = 0
    n_tokens: int = 0
    is_different: bool = False


@dataclass(frozen=True)
class Subject:
    """A fine-tuned model beside the one that it was made of.

    Attributes:
        tuned: With the adapter.
        tokenizer: Of both.
        base: Gives the model before; None where it is `tuned` with its adapter switched off.
        max_new_tokens: Longest answer.
        batch_size: Prompts that are answered at the same time.
        unread: Ids of tokens that the tokenizer of the model before lacks.
    """

    tuned: Model
    tokenizer: PreTrainedTokenizerBase
    base: Callable[[], Model] | None
    max_new_tokens: int
    batch_size: int
    unread: frozenset[int] = frozenset()
    cost: Counted = field(default_factory=Counted)

    @classmethod
    def of(
        cls,
        tuned: Model,
        tokenizer: PreTrainedTokenizerBase,
        base: Callable[[], Model] | None,
        config: AdapterTestConfig,
        unread: Collection[int] = (),
    ) -> Self:
        """Asked as the settings of a test say."""
        answers = config.max_new_tokens, config.batch_size
        return cls(tuned, tokenizer, base, *answers, frozenset(unread))

    def answers(self, prompts: Sequence[list[int]]) -> list[Answered]:
        """What the tuned model says, greedily.

        Raises:
            ModelError: The tokenizer of the model before reads a prompt otherwise.
        """
        self._require_read(prompts)
        if not self.cost.is_different:
            self.cost.is_different = any(map(self._is_different_on, prompts))
        return self._answered(self.tuned, prompts)

    def base_answers(self, prompts: Sequence[list[int]]) -> list[Answered]:
        """The same of the model before."""
        with self._before() as model:
            return self._answered(model, prompts)

    def base_logp(self, given: Sequence[list[int]], said: Sequence[list[int]]) -> list[Floats]:
        """Ln p, in nats, of the tokens of n texts behind another under the model before."""
        self.cost.n_tokens += sum(map(len, given)) + sum(map(len, said))
        with self._before() as model:
            if takes_trees(model):
                return tree_logp(model, given, said, self.batch_size)
            return token_logp(model, given, said, self.batch_size)

    def _require_read(self, prompts: Sequence[list[int]]) -> None:
        found = sorted(self.unread.intersection(chain.from_iterable(prompts)))
        if found:
            named = ", ".join(repr(self.tokenizer.decode([token])) for token in found[:_NAMED])
            raise ModelError(
                f"prompts have tokens that were added to those of the model before ({named}), so "
                "that a server with the model's own tokenizer would not get what is asked; put "
                "the tokenizer into a copy of the model's folder whose embedding has a row for "
                "each, and test against that"
            )

    @torch.inference_mode()
    def _is_different_on(self, prompt: list[int]) -> bool:
        """Whether what was trained makes a difference; of a whole model it is not asked."""
        if not isinstance(self.tuned, PeftModel):
            return True
        ids = torch.tensor([prompt], device=self.tuned.device)
        logits = self._logits(self.tuned, ids)
        with self.tuned.disable_adapter():
            if not torch.equal(logits, self._logits(self.tuned, ids)):
                return True
        # What an adapter brings beside its matrices stays in place when it is switched off.
        return self.base is not None and not torch.equal(logits, self._logits(self.base(), ids))

    def _logits(self, model: Model, ids: torch.Tensor) -> torch.Tensor:
        self.cost.n_tokens += ids.numel()
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits

    @contextmanager
    def _before(self) -> Iterator[Model]:
        if self.base is not None:
            yield self.base()
            return
        assert isinstance(self.tuned, PeftModel)
        with self.tuned.disable_adapter():
            yield self.tuned

    @torch.inference_mode()
    def _answered(self, model: Model, prompts: Sequence[list[int]]) -> list[Answered]:
        ends = end_tokens(model, self.tokenizer)
        if takes_trees(model):
            said = grown(model, ends, prompts, self.max_new_tokens, self.batch_size)
        else:
            said = continued(model, self.tokenizer, prompts, self.max_new_tokens, self.batch_size)
        self.cost.n_answers += len(prompts)
        self.cost.n_tokens += sum(map(len, prompts)) + sum(map(len, said))
        return [self._answer(ids, set(ends)) for ids in said]

    def _answer(self, ids: list[int], ends: set[int]) -> Answered:
        is_ended = bool(ids) and ids[-1] in ends
        return Answered.of(ids[:-1] if is_ended else ids, is_ended, self.tokenizer)
