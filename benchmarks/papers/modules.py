"""Which module's gradient tells poison: the head, or attention and MLP, early and late."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from benchmarks.papers.backdoors import Subject, training_rows
from benchmarks.papers.bench import Bench, Flags, counts
from benchmarks.papers.cells import Cell
from benchmarks.papers.results import Result
from benchmarks.published_procedure import cropped_gradient, entropy
from gradgate.common.arrays import Floats
from gradgate.data.prepare import iter_prepared
from gradgate.errors import GradgateError, ModelError
from gradgate.methods.gradsentry.threshold import PUBLISHED_CONSTANT, kde_valley
from gradgate.models.identity import load_model

_LAYER = re.compile(r"\.(\d+)\.")
_PARTS = {"attention": "attn", "mlp": "mlp"}  # as the modules of all usual models are named


def compute(bench: Bench, cells: Sequence[Cell]) -> Iterator[Result]:
    """The lines of cells with the same rows."""
    with bench.folder() as name:
        try:
            rows = training_rows(bench, cells[0])
            subject = Subject.made(bench, cells[0], rows, Path(name))
        except GradgateError as error:
            yield from (bench.line(cell, skipped=str(error)) for cell in cells)
            return
        for cell in cells:
            try:
                flags = _flags(bench, subject, cell.defence)
                yield bench.line(cell, **counts(flags, subject.poisoned))
            except GradgateError as error:
                yield bench.line(cell, skipped=str(error))


def _flags(bench: Bench, subject: Subject, module: str) -> Flags:
    """The published rule on the entropies of one module's gradient."""
    if module == "lm_head":
        return subject.judged("gradsentry")
    started = time.perf_counter()
    entropies = _entropies(bench, subject.samples, module)
    tau = kde_valley(entropies).tau
    flagged = entropies > (PUBLISHED_CONSTANT if tau is None else tau)
    seconds = time.perf_counter() - started
    return Flags(flagged, flagged, entropies, "-", seconds)


def _entropies(bench: Bench, samples: Path, module: str) -> Floats:
    loaded = load_model(bench.model)
    weight = find_weight(loaded.model, module).requires_grad_(True)
    found = []
    for batch in iter_prepared(samples, 64):
        for one in batch:
            gradient = cropped_gradient(loaded, weight, one.tokens)
            found.append(entropy(torch.linalg.svdvals(gradient)[:16]))
    return np.array(found)


def find_weight(model: nn.Module, module: str) -> Tensor:
    """The weight of the last linear module of a part of the first, middle or last layer.

    Args:
        model: Any causal model.
        module: `first.attention`, `middle.mlp`, and so on.

    Raises:
        ModelError: It has no module of that kind.
    """
    where, _, part = module.partition(".")
    by_layer: dict[int, Tensor] = {}
    for name, one in model.named_modules():
        layer = _LAYER.search(name)
        is_linear = isinstance(one, (nn.Linear, Conv1D))
        if layer and is_linear and _PARTS[part] in name.rpartition(".")[0]:
            by_layer[int(layer[1])] = one.weight
    if not by_layer:
        raise ModelError(f"the model has no linear module of the kind {part}")
    layers = sorted(by_layer)
    at = {"first": 0, "middle": len(layers) // 2, "last": -1}[where]
    return by_layer[layers[at]]
