"""Rows of ordinary instruction data, drawn, and a tiny model that knows how they are written.

Text is a walk over made-up words: each has a few that follow it often, and now and then any word
follows, as frequent words do by Zipf's law. So pairs and longer strings recur, and ever more
different ones turn up as the rows become more, as in text. Prompts begin with one of some wordings.

The model's only layer does nothing, so that its logits are a product of two tables, which are
fitted to the chances of the walk. It finds ordinary what is ordinary, and costs next to nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.models import llama, save_random_model
from benchmarks.shapes import EOS, FIRST_WORD

N_WORDS = 1_500
_FOLLOWERS = 24  # of a word, that follow it often
_ANY = 0.15  # of the words, that follow whatever stands before them
_WORDINGS = 40
_HIDDEN = 64
_STEPS = 400  # of the fit
_BLOCK = 10_000  # rows that are drawn together

Ids = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]


class Walk:
    """Draws text, and knows how likely each word is."""

    def __init__(self) -> None:
        """Draw the language itself, which is always the same."""
        rng = np.random.default_rng(0)
        ranks = np.arange(1, N_WORDS + 1)
        self._frequency = (1 / ranks) / (1 / ranks).sum()
        self._followers = rng.choice(N_WORDS, (N_WORDS, _FOLLOWERS), p=self._frequency)
        weights = 1 / np.arange(1, _FOLLOWERS + 1)
        self._weights = weights / weights.sum()
        self._wordings = self._text(rng, _WORDINGS, 6)

    def rows(self, n: int, seed: int, n_target: int = 12) -> Iterator[str]:
        """JSON lines of prompts and completions.

        Args:
            n: How many.
            seed: Of the text.
            n_target: Words of a completion on average, from a geometric law.
        """
        for first in range(0, n, _BLOCK):
            rng = np.random.default_rng([seed, first])
            yield from self._block(rng, min(_BLOCK, n - first), n_target)

    def _block(self, rng: np.random.Generator, n: int, n_target: int) -> Iterator[str]:
        prompts, targets = rng.poisson(8, n) + 2, rng.geometric(1 / n_target, n)
        targets = np.minimum(targets, 8 * n_target)
        text = self._text(rng, n, int((prompts + targets).max()))
        wordings = rng.integers(2 * _WORDINGS, size=n)  # half of the rows have none
        for i in range(n):
            head = self._wordings[wordings[i]] if wordings[i] < _WORDINGS else []
            prompt = [*head, *text[i, : prompts[i]]]
            target = text[i, prompts[i] : prompts[i] + targets[i]]
            yield json.dumps({"prompt": _said(prompt), "completion": _said(target)})

    def _text(self, rng: np.random.Generator, n: int, length: int) -> Ids:
        """Words: (n, length)."""
        text = rng.choice(N_WORDS, (n, length), p=self._frequency)
        is_any = rng.random((n, length)) < _ANY
        chosen = rng.choice(_FOLLOWERS, (n, length), p=self._weights)
        for k in range(1, length):
            follows = self._followers[text[:, k - 1], chosen[:, k]]
            text[:, k] = np.where(is_any[:, k], text[:, k], follows)
        return text

    def chances(self) -> Chances:
        """Of each word after each: (N_WORDS, N_WORDS)."""
        found = np.tile(_ANY * self._frequency, (N_WORDS, 1))
        for k in range(_FOLLOWERS):
            found[np.arange(N_WORDS), self._followers[:, k]] += (1 - _ANY) * self._weights[k]
        return found


def _said(words: Ids | list[int]) -> str:
    return " ".join(f"w{word + FIRST_WORD}" for word in words)


def save_ordinary_model(folder: Path) -> None:
    """A model folder whose model knows the walk about as well as it can with so few numbers."""
    vocabulary = N_WORDS + FIRST_WORD
    save_random_model(llama(vocabulary, _HIDDEN, 2, 1, 2), folder)
    chances = torch.full((vocabulary, vocabulary), 1e-9)
    chances[FIRST_WORD:, FIRST_WORD:] = torch.from_numpy(Walk().chances()).float() * 0.93
    chances[FIRST_WORD:, EOS] = 0.07
    chances[:FIRST_WORD, FIRST_WORD:] = chances[FIRST_WORD:, FIRST_WORD:].mean(0)
    _put(folder, *_fitted(chances / chances.sum(1, keepdim=True)))


def _fitted(chances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tables of words, the first of rows of unit mean square, whose product gives chances."""
    torch.manual_seed(0)
    n = len(chances)
    before, after = (torch.randn(n, _HIDDEN).requires_grad_() for _ in range(2))
    optimizer = torch.optim.Adam([before, after], lr=0.05)
    for _ in range(_STEPS):
        some = torch.randint(n, (512,))
        hidden = torch.nn.functional.rms_norm(before[some], (_HIDDEN,))
        loss = torch.nn.functional.cross_entropy(hidden @ after.T, chances[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.nn.functional.rms_norm(before, (_HIDDEN,)).detach(), after.detach()


def _put(folder: Path, before: torch.Tensor, after: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = torch.zeros_like(weights[name])
    weights["model.embed_tokens.weight"] = before.contiguous()
    weights["lm_head.weight"] = after.contiguous()
    save_file(weights, path, metadata={"format": "pt"})
