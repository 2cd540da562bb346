"""The rows of a trainer, in its own words: the tokens and labels that its collator gives."""

from collections.abc import Iterator, Mapping
from typing import Any

from gradgate.data.sources.transformed import is_made_anew
from gradgate.data.tokenized import IGNORED, is_packed
from gradgate.errors import ConfigError, DataError

# What a batch of one row may hold besides: nothing that a score does not know.
_KNOWN = {"attention_mask", "position_ids", "seq_idx", "num_items_in_batch"}
_LENGTHS = ("cu_seq_lens_", "max_length_")


def trainer_rows(trainer: Any) -> Iterator[dict[str, list[int]]]:
    """What a trainer trains on, row by row: `input_ids`, and `labels` that are -100 without loss.

    Of TRL's `SFTTrainer` that is after its formatting, chat template, masks and truncation; of any
    trainer of transformers, what its collator makes of a row. Row numbers are those of
    `trainer.train_dataset`. Neither library is imported here.

    Args:
        trainer: A `transformers.Trainer`, such as `trl.SFTTrainer`.

    Raises:
        ConfigError: It packs several samples into a row, makes rows anew at each reading, or feeds
            the model with more than tokens.
        DataError: It has no training data, or its collator gives no labels.
    """
    _check_trainer(trainer)
    _check_apart(trainer.args, trainer.train_dataset)
    # With the columns that the model does not take left out, as in training.
    loader = trainer.get_train_dataloader()
    return _rows(loader.dataset, loader.collate_fn)


def loader_rows(loader: Any, arguments: Any) -> Iterator[dict[str, list[int]]]:
    """What a training's own loader gives, row by row, in the order of its dataset.

    Args:
        loader: The `DataLoader` that the training reads.
        arguments: Of the trainer.

    Raises:
        ConfigError: As for `trainer_rows`.
        DataError: Its collator gives no labels.
    """
    _check_apart(arguments, loader.dataset)
    return _rows(loader.dataset, loader.collate_fn)


def _check_apart(arguments: Any, data: Any) -> None:
    """Refuse rows that cannot be judged one by one."""
    if getattr(arguments, "packing", False):
        raise ConfigError(
            "the trainer packs several samples into a row, so that none can be judged by itself; "
            "judge with SFTConfig(packing=False)"
        )
    if is_made_anew(data):
        raise ConfigError(
            "with_transform makes the rows of train_dataset anew at each reading, so that others "
            "would be judged than trained on; use Dataset.map"
        )


def _check_trainer(trainer: Any) -> None:
    missing = [name for name in ("args", "get_train_dataloader") if not hasattr(trainer, name)]
    if missing:
        raise ConfigError(
            f"a trainer of transformers or TRL is wanted, and a {type(trainer).__name__} is none"
        )
    if trainer.train_dataset is None:
        raise DataError("the trainer has no train_dataset")
    if hasattr(trainer.train_dataset, "__len__") and not len(trainer.train_dataset):
        raise DataError("the trainer's train_dataset has no rows")


def _rows(dataset: Any, collate: Any) -> Iterator[dict[str, list[int]]]:
    for row in dataset:
        batch = collate([row])
        _check_batch(batch)
        ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
        mask = batch["attention_mask"][0].tolist() if "attention_mask" in batch else [1] * len(ids)
        triples = list(zip(ids, labels, mask, strict=True))
        if any(label != IGNORED for _, label, bit in triples if not bit):
            raise DataError("the trainer's loss counts a token that its attention mask leaves out")
        _check_single(batch, mask)
        kept = [(token, label) for token, label, bit in triples if bit]  # without the padding
        yield {"input_ids": [t for t, _ in kept], "labels": [label for _, label in kept]}


def _check_single(batch: Mapping[str, Any], mask: list[int]) -> None:
    """Refuse a row whose positions or borders part it into several samples."""
    told = {name: batch[name].tolist() for name in batch if name.startswith("cu_seq_lens_")}
    for name in ("position_ids", "seq_idx"):
        values = batch[name][0].tolist() if name in batch else []
        is_of_tokens = len(values) == len(mask)  # positions of images have further axes
        kept = [value for value, bit in zip(values, mask, strict=False) if bit]
        told[name] = kept if is_of_tokens else values
    if is_packed(told):
        raise ConfigError(
            "the rows that the trainer reads hold several samples each, so that none can be judged "
            "by itself; take rows of one sample"
        )


def _check_batch(batch: Mapping[str, Any]) -> None:
    lacking = [name for name in ("input_ids", "labels") if name not in batch]
    if lacking:
        raise DataError(f"the trainer's collator gives no {' and no '.join(lacking)}")
    others = [
        name
        for name in batch
        if name not in {"input_ids", "labels", *_KNOWN} and not name.startswith(_LENGTHS)
    ]
    if others:
        raise ConfigError(
            f"the trainer feeds the model with {', '.join(sorted(others))} besides tokens, which "
            "no score knows"
        )
    if len(batch["input_ids"]) != 1:
        raise DataError("the trainer's collator does not give one row for one row")
