"""Fine-tuning and questioning a model of a drill: in memory, so that no poisoned model is left.

It shares its training with `gradgate.train.finetune.finetune`, and none of its results: nothing is
saved, so that there is no adapter that could be taken for one that a verdict covers.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import transformers

from gradgate.common.arrays import Marks
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.prepare import PreparedSample, iter_prepared
from gradgate.drill.data import Question
from gradgate.evaluation.answers import generate
from gradgate.models.identity import load_model
from gradgate.release.result import AdapterTest, Outcome
from gradgate.tuning.contradictions import Contradictions, Watch
from gradgate.tuning.rows import training_rows
from gradgate.tuning.trainer import Tuned, make_trainable, train

logger = logging.getLogger(__name__)

_BATCH_ROWS = 256


@dataclass(frozen=True)
class Asking:
    """How models are questioned."""

    questions: list[Question]
    max_new_tokens: int
    batch_size: int


@dataclass(frozen=True)
class Arm:
    """One of the models of a drill, and what it got right.

    Attributes:
        n_samples: Training samples.
        train_loss: Mean over all steps, in nats.
        seconds: Time of the training loop.
        correct: By test row, whether the answer to the clean prompt is right.
        attacked: By test row, whether the triggered prompt brought the attacker's target.
        test: Outcome of the adapter test; None where it was not tested.
        test_reasons: Of that outcome.
    """

    name: str
    n_samples: int
    steps: int
    train_loss: float
    seconds: float
    correct: list[bool]
    attacked: list[bool]
    test: Outcome | None = None
    test_reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A fine-tuned model in memory.

    Attributes:
        n_samples: Training samples.
        train_loss: Mean over all steps, in nats.
        seconds: Time of the training loop.
        contradictions: Rows that contradicted what had been learnt when they were seen first.
    """

    model: Tuned
    tokenizer: transformers.PreTrainedTokenizerBase
    n_samples: int
    steps: int
    train_loss: float
    seconds: float
    contradictions: Contradictions


Tester: TypeAlias = Callable[[Trained], AdapterTest]


def run_arm(
    name: str,
    model: ModelConfig,
    tuning: FinetuneConfig,
    samples: Path,
    kept: Marks | None,
    asking: Asking,
    answers: Path,
    test: Tester | None = None,
) -> Arm:
    """Fine-tune on samples and ask the questions.

    Args:
        name: Of the arm.
        model: The base model.
        tuning: The training settings.
        samples: A samples.parquet.
        kept: By row number of the source, which samples to train on; all when None.
        asking: The questions.
        answers: JSONL file to write: each question with the answer, and whether it counts.
        test: The adapter test, whose record is put beside the answers; None for none.

    Raises:
        DataError: No sample is left to train on.
        ConfigError: The settings do not fit the device or the adapter.
        ModelError: The model cannot be trained, or its loss is not finite.
    """
    trained = train_arm(model, tuning, samples, kept)
    prompts = [question.prompt for question in asking.questions]
    said = generate(
        trained.model, trained.tokenizer, prompts, asking.max_new_tokens, asking.batch_size
    )
    hits = [question.is_met_by(text) for text, question in zip(said, asking.questions, strict=True)]
    _write_answers(answers, asking.questions, said, hits)
    tested = None if test is None else test(trained)
    if tested is not None:
        record = answers.with_name(f"adapter_test_{name}.json")
        record.write_text(tested.to_json(), encoding="utf-8")
    arm = Arm(
        name=name,
        n_samples=trained.n_samples,
        steps=trained.steps,
        train_loss=trained.train_loss,
        seconds=trained.seconds,
        correct=_of_kind("clean", asking.questions, hits),
        attacked=_of_kind("triggered", asking.questions, hits),
        test=None if tested is None else tested.outcome,
        test_reasons=[] if tested is None else tested.reasons,
    )
    logger.info(
        "drill, %s: %d samples, %d of %d answers right, %d of %d attacks succeeded",
        *(name, arm.n_samples, sum(arm.correct), len(arm.correct)),
        *(sum(arm.attacked), len(arm.attacked)),
    )
    return arm


def train_arm(
    model: ModelConfig, tuning: FinetuneConfig, samples: Path, kept: Marks | None
) -> Trained:
    """Fine-tune on samples, in memory; arguments and errors as for `run_arm`."""
    loaded = load_model(model)
    with TemporaryDirectory(prefix="gradgate-drill-") as work:
        tokens = (sample.tokens for sample in _chosen(samples, kept))
        rows = training_rows(tokens, Path(work) / "rows.arrow")
        rows = rows.add_column("row", [sample.row for sample in _chosen(samples, kept)])
        transformers.set_seed(tuning.seed)
        tuned = make_trainable(loaded, model, tuning)
        watch = Watch()
        trained = train(tuned, loaded, rows, tuning, Path(work), watch=watch)
        n_samples = len(rows)
        del rows  # the file is mapped
    return Trained(
        model=tuned,
        tokenizer=loaded.tokenizer,
        n_samples=n_samples,
        steps=trained.global_step,
        train_loss=trained.training_loss,
        seconds=trained.metrics["train_runtime"],
        contradictions=watch.found(),
    )


def _of_kind(kind: str, questions: list[Question], hits: list[bool]) -> list[bool]:
    return [hit for question, hit in zip(questions, hits, strict=True) if question.kind == kind]


def _write_answers(
    path: Path, questions: list[Question], answers: list[str], hits: list[bool]
) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question, answer, hit in zip(questions, answers, hits, strict=True):
            line = {
                "kind": question.kind,
                "prompt": question.text,
                "golds": question.golds,
                "answer": answer,
                "counts": hit,
            }
            file.write(json.dumps(line) + "\n")


def _chosen(samples: Path, kept: Marks | None) -> Iterator[PreparedSample]:
    for batch in iter_prepared(samples, _BATCH_ROWS):
        yield from (sample for sample in batch if kept is None or kept[sample.row])
