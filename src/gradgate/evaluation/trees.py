"""Texts that begin alike, read as one tree, so that what they share goes through the model once.

The prompts of a test are the same ones again and again: with a blank line at the end, with a word
said twice, as they are, and with a target behind them. Read one by one, and padded to the length of
the longest, most of the work is what has been computed before. Here all of them are one sequence,
in which each token sees those of its own text before it and no others. So nothing is padded, what
has ended is asked no further, and what is computed of each text is what it would be alone, but for
rounding.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel

from gradgate.common.arrays import Floats, Marks
from gradgate.errors import ModelError

_TREE = 4_096  # tokens of a tree
_TEXTS = 48  # texts of one, at most, whose answers grow at the same time
_BLOCK = 192  # tokens that are read at the same time, for each looks at all of these
# Models whose tokens know their place by rotation and see all before them, in every layer.
_KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
_ROTATIONS = frozenset({"default", "linear", "llama3"})  # the same whatever else is read


@dataclass(frozen=True)
class Tree:
    """Texts that share what they begin with.

    Attributes:
        ids: Tokens: (N,).
        places: Of each in its text: (N,).
        sees: Which tokens, itself among them, stand in its text up to it: (N, N).
        paths: For each text the numbers of its tokens, in their order.
    """

    ids: list[int]
    places: list[int]
    sees: Marks
    paths: list[list[int]]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "Tree":
        """Put texts together that are sorted, so that those that begin alike are neighbours."""
        ids, places, paths = list[int](), list[int](), list[list[int]]()
        above, path = list[int](), list[int]()
        for number, text in enumerate(texts):
            n_alike = _alike(texts[number - 1], text) if number else 0
            path = path[:n_alike]
            for place in range(n_alike, len(text)):
                above.append(path[-1] if path else -1)
                path.append(len(ids))
                ids.append(text[place])
                places.append(place)
            paths.append([*path])
        sees = np.eye(len(ids), dtype=bool)
        for i, parent in enumerate(above):
            if parent >= 0:
                sees[i] |= sees[parent]
        return cls(ids, places, sees, paths)


def takes_trees(model: PreTrainedModel | PeftModel) -> bool:
    """Whether a model reads each text of a tree as it reads it alone.

    Not where a token sees a part of those before it, where their order is told otherwise than by
    position, and on a GPU, which answers a batch of padded prompts as fast as one.
    """
    settings = model.config
    kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
    rotation = getattr(settings, "rope_parameters", None) or {}
    return (
        settings.model_type in _KNOWN
        and rotation.get("rope_type") in _ROTATIONS
        and kinds == {"full_attention"}
        and getattr(settings, "sliding_window", None) is None
        and getattr(settings, "_attn_implementation", None) == "sdpa"
        and model.device.type == "cpu"
        and not getattr(model, "hf_device_map", None)
    )


@torch.inference_mode()
def grown(
    model: PreTrainedModel | PeftModel,
    ends: Sequence[int],
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    """Answer prompts greedily, see `answers.continued`.

    Args:
        model: As it is; see `takes_trees`.
        ends: Tokens that end an answer.
        prompts: Token ids, at least one each.
        max_new_tokens: Longest answer.
        batch_size: Prompts that are answered at the same time, at most.

    Raises:
        ModelError: The model's figures are not finite.
    """
    model.eval()
    said: dict[tuple[int, ...], list[int]] = {}
    for texts in _parts([tuple(ids) for ids in prompts], batch_size):
        said |= zip(texts, _grown(model, frozenset(ends), texts, max_new_tokens), strict=True)
    return [[*said[tuple(ids)]] for ids in prompts]


@torch.inference_mode()
def tree_logp(
    model: PreTrainedModel | PeftModel,
    given: Sequence[list[int]],
    said: Sequence[list[int]],
    batch_size: int,
) -> list[Floats]:
    """Ln p, in nats, of each token of n texts behind another, see `answers.token_logp`."""
    model.eval()
    whole = [(*before, *behind) for before, behind in zip(given, said, strict=True)]
    numbers = defaultdict[tuple[int, ...], list[int]](list)
    for number, text in enumerate(whole):
        numbers[text].append(number)
    found = [np.zeros(len(behind)) for behind in said]
    for texts in _parts(whole, batch_size):
        tree, wanted = Tree.of(texts), defaultdict[int, list[tuple[int, int]]](list)
        for text, path in zip(texts, tree.paths, strict=True):
            for number in numbers[text]:
                for place, node in enumerate(path[len(given[number]) - 1 : -1]):
                    wanted[node].append((number, place))
        for nodes, logits in _blocks(model, tree, wanted, _cache_of(model)):
            for node, logp in zip(nodes, logits.float().log_softmax(-1), strict=True):
                for number, place in wanted[node]:
                    found[number][place] = float(logp[said[number][place]])
    return found


def _parts(texts: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[tuple[int, ...]]]:
    """Different texts, sorted and cut into trees."""
    most = min(_TEXTS, batch_size)
    part, n = list[tuple[int, ...]](), 0
    for text in sorted(set(texts)):
        new = len(text) - (_alike(part[-1], text) if part else 0)
        if part and (n + new > _TREE or len(part) == most):
            yield part
            part, n, new = [], 0, len(text)
        part.append(text)
        n += new
    if part:
        yield part


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    n = min(len(one), len(other))
    return next((i for i in range(n) if one[i] != other[i]), n)


def _blocks(
    model: PreTrainedModel | PeftModel, tree: Tree, kept: Collection[int], whole: DynamicCache
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Read a tree block by block; each sees besides itself the text that leads up to it.

    Args:
        model: As it is.
        tree: Whose texts are read.
        kept: Tokens behind which logits are wanted.
        whole: Takes what the model keeps of all tokens.

    Yields:
        Those of a block, and the logits: (n, V).
    """
    for start in range(0, len(tree.ids), _BLOCK):
        stop = min(start + _BLOCK, len(tree.ids))
        above = torch.from_numpy(np.flatnonzero(tree.sees[start, :start]))
        block = _cache_of(model)
        for number, layer in enumerate(whole.layers if start else ()):
            block.update(layer.keys[:, :, above], layer.values[:, :, above], number)
        sees = np.concatenate([tree.sees[start:stop, above], tree.sees[start:stop, start:stop]], 1)
        nodes = [node for node in range(start, stop) if node in kept]
        logits = model(
            input_ids=torch.tensor([tree.ids[start:stop]]),
            position_ids=torch.tensor([tree.places[start:stop]]),
            attention_mask=torch.from_numpy(sees)[None, None],
            past_key_values=block,
            use_cache=True,
            logits_to_keep=torch.tensor([node - start for node in nodes] or [0]),
        ).logits[0]
        for number, layer in enumerate(block.layers):
            new = layer.keys[:, :, len(above) :], layer.values[:, :, len(above) :]
            whole.update(*new, number)
        yield nodes, logits[: len(nodes)]


def _cache_of(model: PreTrainedModel | PeftModel) -> DynamicCache:
    return DynamicCache(config=model.config)


def _grown(
    model: PreTrainedModel | PeftModel,
    ends: frozenset[int],
    texts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
) -> list[list[int]]:
    """The answers to some texts, which grow side by side until each has ended."""
    tree, whole, first = Tree.of(texts), _cache_of(model), dict[int, int]()
    for nodes, logits in _blocks(model, tree, {path[-1] for path in tree.paths}, whole):
        first |= zip(nodes, _largest(logits), strict=True)
    answers = [[first[path[-1]]] for path in tree.paths]
    cache, mask = _each(model, tree, whole)
    live = list(range(len(texts)))
    for step in range(max_new_tokens - 1):
        left = [row for row, i in enumerate(live) if answers[i][-1] not in ends]
        if not left:
            break
        if len(left) < len(live):
            live, rows = [live[row] for row in left], torch.tensor(left)
            mask = mask[rows]
            cache.batch_select_indices(rows)
        mask = torch.cat([mask, torch.ones(len(live), 1, dtype=mask.dtype)], dim=1)
        logits = model(
            input_ids=torch.tensor([answers[i][-1:] for i in live]),
            position_ids=torch.tensor([[len(texts[i]) + step] for i in live]),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        for i, token in zip(live, _largest(logits), strict=True):
            answers[i].append(token)
    return answers


def _each(
    model: PreTrainedModel | PeftModel, tree: Tree, whole: DynamicCache
) -> tuple[DynamicCache, torch.Tensor]:
    """What the model keeps of each text by itself, padded on the left, and the mask of that."""
    width = max(map(len, tree.paths))
    places = torch.tensor([[0] * (width - len(path)) + path for path in tree.paths])
    cache = _cache_of(model)
    for number, layer in enumerate(whole.layers):
        kept = (one[0][:, places].transpose(0, 1) for one in (layer.keys, layer.values))
        cache.update(*kept, number)
    return cache, torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in tree.paths])


def _largest(logits: torch.Tensor) -> list[int]:
    """The likeliest token of each row: (n, V) -> n."""
    if not len(logits):
        return []
    largest = logits.float().max(-1)
    if not bool(largest.values.isfinite().all()):
        raise ModelError("the model answers by figures that are not finite")
    return [int(token) for token in largest.indices]
