"""Accepted samples that are not trained on.

What a fine-tuning taught shows on prompts that it did not see: of those that it saw it may know the
answers by heart, whatever is put into them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from gradgate.data.tokenized import IGNORED
from gradgate.errors import ModelError
from gradgate.release.training_record import MAX_HELD_OUT
from gradgate.tuning.trainer import Tuned, collate

MIN_HELD_OUT = 8  # fewer say nothing: the adapter test looks at eight prompts first


def draw_held_out(prompts: Iterable[npt.NDArray[np.int32]], part: float, draw: str) -> list[int]:
    """Draw samples to hold out, among those whose prompt no other sample has.

    Args:
        prompts: Token ids of those of n samples.
        part: Of the samples, in [0, 1).
        draw: What decides. It should depend on all samples, so that who writes some of them cannot
            know which are drawn.

    Returns:
        Their places among the n, in order; none where they would be fewer than `MIN_HELD_OUT`.
    """
    keys = [hashlib.blake2b(ids.tobytes(), digest_size=16).digest() for ids in prompts]
    wanted = min(int(part * len(keys)), MAX_HELD_OUT)
    counted = Counter(keys)
    alone = [place for place, key in enumerate(keys) if counted[key] == 1]
    if min(wanted, len(alone)) < MIN_HELD_OUT:
        return []
    return sorted(Random(draw).sample(alone, min(wanted, len(alone))))


def prompts_of(rows: Dataset) -> Iterator[npt.NDArray[np.int32]]:
    """The token ids in front of the last target of each training row; all where none are."""
    for batch in rows.with_format("numpy").iter(256):
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            is_prompt = np.asarray(labels) == IGNORED
            last = int(np.flatnonzero(~is_prompt)[-1]) if not is_prompt.all() else 0
            before = np.flatnonzero(is_prompt[:last])
            yield np.asarray(ids, np.int32)[: int(before[-1]) + 1 if len(before) else None]


@torch.inference_mode()
def mean_loss(tuned: Tuned, rows: Dataset, batch_size: int) -> float:
    """Mean loss of a model on training rows, over all tokens that the loss counts, in nats.

    Raises:
        ModelError: It is not finite.
    """
    tuned.eval()
    total, n = 0.0, 0
    for start in range(0, len(rows), batch_size):
        chosen = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
        batch = {name: column.to(tuned.device) for name, column in collate(chosen).items()}
        labels = batch.pop("labels")[:, 1:]  # (B, T - 1)
        logits = tuned(**batch, use_cache=False).logits[:, :-1].float()  # (B, T - 1, V)
        loss = cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        total += float(loss)
        n += int((labels != IGNORED).sum())
    if not np.isfinite(total):
        raise ModelError("the loss on the held-out samples is not finite; nothing is kept")
    return total / max(1, n)
