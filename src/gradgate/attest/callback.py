"""A callback of transformers' Trainer that lets nothing be trained on but what was accepted.

It works with `transformers.Trainer`, TRL's `SFTTrainer` and whatever builds on them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.given_rows import Covered, OtherDataError, accepted_rows, check_tokens
from gradgate.attest.model_files import ModelFiles
from gradgate.attest.statement import Predicate
from gradgate.attest.verification import Trust, Verified, verify_by
from gradgate.data.tokenized import IGNORED
from gradgate.data.trainer_rows import loader_rows
from gradgate.errors import ConfigError, DataError
from gradgate.models.handle import HeldModel


class AttestedTraining(TrainerCallback):
    """Checks, before the first step, that the trainer trains on the accepted rows alone.

    Compared are the tokens and the loss masks that the trainer's own loader and collator give,
    in the order of its dataset, and the model. What goes on as training begins is the trainer's.

    Attributes:
        verified: What holds; None until a training has begun.
    """

    def __init__(
        self,
        attestation: str | Path,
        key: str | Path | None = None,
        model: str | Path | None = None,
        adapter: str | Path | None = None,
        revoked: str | Path | None = None,
        allow_unsigned: bool = False,
    ) -> None:
        """Take what `gradgate.verify` takes.

        Args:
            attestation: File that the gate has written.
            key: File of the gate's public key, or of several.
            model: Where the files of the model are; where it was loaded from when absent.
            adapter: Of the adapter that the data were judged with.
            revoked: See `Trust`.
            allow_unsigned: See `Trust`.
        """
        self.verified: Verified | None = None
        self._attestation = Path(attestation)
        self._trust = Trust.of(key, revoked, allow_unsigned)
        self._model = None if model is None else str(model)
        self._adapter = adapter

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Refuse what was not accepted.

        Raises:
            NotVerifiedError: The attestation does not cover this training.
            ConfigError: The rows cannot be compared one by one: they are packed, made anew at each
                reading, or a stream; or it is not known where the model was loaded from.
            GradgateError: See `gradgate.verify`.
        """
        self.verified = None
        loader, model = kwargs.get("train_dataloader"), kwargs.get("model")

        def check(predicate: Predicate) -> Covered:
            self._check_model(model, kwargs.get("processing_class"), predicate)
            check_tokens(_pairs(loader, args), accepted_rows(predicate))
            return "tokens"

        self.verified = verify_by(self._attestation, self._trust, None, check)

    def _check_model(self, model: Any, tokenizer: Any, predicate: Predicate) -> None:
        """Hold the model against the one that judged: by its files, or as it lies in memory."""
        if predicate.model_digest_of == "memory" and self._model is None:
            found = HeldModel(model, tokenizer, "the model").identify().identity["sha256"]
            refusals = [] if found == predicate.model.get("sha256") else [_IN_MEMORY]
        else:
            path = self._model or str(getattr(model.config, "_name_or_path", ""))
            if not path:
                raise ConfigError(
                    "nothing says where the trainer's model was loaded from; name its folder, "
                    "AttestedTraining(..., model=PATH)"
                )
            refusals = ModelFiles.of(path, self._adapter).refusals(predicate)
        if refusals:
            raise NotVerifiedError(refusals)


_IN_MEMORY = (
    "the model in memory is not the one that judged the data: its weights, settings or tokenizer "
    "changed since; judge the data by the model's path instead"
)


def _pairs(loader: Any, arguments: Any) -> Iterator[tuple[list[int], list[bool]]]:
    """Token ids and loss masks of a training, row by row."""
    data = getattr(loader, "dataset", None)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ConfigError(
            "train_dataset is a stream, or not known: it is read anew for the training, so that "
            "other rows could come than were compared; use a datasets.Dataset"
        )
    try:
        for number, row in enumerate(loader_rows(loader, arguments)):
            ids, labels = row["input_ids"], row["labels"]
            if any(label not in (IGNORED, token) for token, label in zip(ids, labels, strict=True)):
                raise OtherDataError(f"row {number} of the data learns another token than it has")
            yield ids, [label != IGNORED for label in labels]
    except DataError as error:
        raise OtherDataError(str(error)) from error
