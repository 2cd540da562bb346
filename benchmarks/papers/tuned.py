"""Fine-tuned models, each trained once for all that is asked of it."""

from pathlib import Path

import torch

from benchmarks.papers.bench import Bench
from benchmarks.papers.cells import Training
from gradgate.common.arrays import Marks
from gradgate.data.prepare import iter_prepared
from gradgate.data.tokenized import IGNORED
from gradgate.drill.models import Trained, train_arm
from gradgate.evaluation import cleangen
from gradgate.evaluation.answers import generate
from gradgate.models.identity import load_model
from gradgate.tuning.trainer import collate

ASKED_AT_ONCE = 32


class Tuning:
    """Trains, and keeps the last model: the next question may be for the same one."""

    def __init__(self, bench: Bench) -> None:
        """Nothing is trained yet."""
        self._bench = bench
        self._last: tuple[object, Trained] | None = None

    def answers(
        self,
        training: Training,
        samples: Path,
        kept: Marks | None,
        prompts: list[list[int]],
        max_new_tokens: int,
        decoding: bool = False,
    ) -> tuple[list[str], Trained]:
        """What a model says that was trained on these samples, and how it was trained.

        Args:
            training: How it is trained.
            samples: The training rows, tokenized.
            kept: Which of them, by row number; all when None.
            prompts: Token ids.
            max_new_tokens: Of an answer.
            decoding: Whether CleanGen replaces what the untuned model finds unlikely.
        """
        trained = self.trained(training, samples, kept)
        if not decoding:
            model, tokenizer = trained.model, trained.tokenizer
            return generate(model, tokenizer, prompts, max_new_tokens, ASKED_AT_ONCE), trained
        return self._clean_answers(trained, prompts, max_new_tokens), trained

    def trained(self, training: Training, samples: Path, kept: Marks | None) -> Trained:
        """A model; the same one where the last was trained on the same rows."""
        key = (training, samples, None if kept is None or kept.all() else kept.tobytes())
        if self._last is None or self._last[0] != key:
            self._last = None  # frees the memory first
            tuning = self._bench.tunings[training]
            self._last = (key, train_arm(self._bench.model, tuning, samples, kept))
        return self._last[1]

    def _clean_answers(
        self, trained: Trained, prompts: list[list[int]], max_new_tokens: int
    ) -> list[str]:
        base = load_model(self._bench.model).model
        answers = cleangen.generate(trained.model, base, trained.tokenizer, prompts, max_new_tokens)
        return [answer.text for answer in answers]


@torch.inference_mode()
def held_out_loss(trained: Trained, samples: Path) -> float:
    """Mean loss a target token, in nats, on samples that were not trained on."""
    total, n = 0.0, 0
    trained.model.eval()
    for batch in iter_prepared(samples, 8):
        rows = [
            {
                "input_ids": one.tokens.input_ids,
                "labels": [
                    token if is_target else IGNORED
                    for token, is_target in zip(
                        one.tokens.input_ids, one.tokens.is_target, strict=True
                    )
                ],
            }
            for one in batch
        ]
        given = {name: value.to(trained.model.device) for name, value in collate(rows).items()}
        n_targets = int((given["labels"][:, 1:] != IGNORED).sum())
        total += float(trained.model(**given).loss) * n_targets
        n += n_targets
    return total / n
