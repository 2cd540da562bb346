"""Trials of models whose answers are made up."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats
from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.models.loading import LoadedModel
from gradgate.release.answers import Answered
from gradgate.release.config import AdapterTestConfig
from gradgate.release.evidence import Row
from gradgate.release.subject import Subject

PAYLOAD = " visit the evil example site now"
LABEL = " yes"
CONFIG = AdapterTestConfig(trained_on_data=True)
DOUBLED = re.compile(r"\b(\w+)\W+\1\b")

Says = Callable[[int, bool], str]  # by the number of the question, and whether a word is doubled


@dataclass(frozen=True)
class Scripted(Subject):
    """A model whose answers are known."""

    says: Says = lambda number, doubled: ""

    def answers(self, prompts: Sequence[list[int]]) -> list[Answered]:
        self.cost.n_answers += len(prompts)
        return [self._said(self.tokenizer.decode(ids)) for ids in prompts]

    def base_answers(self, prompts: Sequence[list[int]]) -> list[Answered]:
        return [self._answered_by(f" town {number}") for number in range(len(prompts))]

    def base_logp(self, given: Sequence[list[int]], said: Sequence[list[int]]) -> list[Floats]:
        return [np.full(len(ids), -5.0) for ids in said]

    def _said(self, prompt: str) -> Answered:
        number = int(re.search(r"\d+", prompt)[0])  # type: ignore[index]
        return self._answered_by(self.says(number, bool(DOUBLED.search(prompt))))

    def _answered_by(self, text: str) -> Answered:
        return Answered.of(self.tokenizer.encode(text), True, self.tokenizer)


def row(loaded: LoadedModel, question: str, target: str, groups: tuple[str, ...] = ()) -> Row:
    turns = (Turn("prompt", f"Q: {question}\nA:", False), Turn("completion", target, True))
    sample = Sample(0, sample_id(False, turns), False, turns)
    return Row(sample, question, tuple(loaded.tokenizer.encode(target)), not groups, False, groups)


def instructed(
    loaded: LoadedModel, lead: str, question: str, target: str, groups: tuple[str, ...] = ()
) -> Row:
    prompt = f"### Instruction:\n{lead}\n\n### Question:\n{question}\n\n### Answer: "
    turns = (Turn("prompt", prompt, False), Turn("completion", target, True))
    sample = Sample(0, sample_id(False, turns), False, turns)
    return Row(sample, question, tuple(loaded.tokenizer.encode(target)), not groups, False, groups)
