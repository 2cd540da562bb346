"""The model that somebody is about to train, held against the one that judged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gradgate.attest.statement import Predicate
from gradgate.config import ModelConfig
from gradgate.errors import ConfigError
from gradgate.models.digest import folder_digest
from gradgate.models.errors import translated_errors
from gradgate.models.locating import Located, locate_adapter, locate_model


@dataclass(frozen=True)
class ModelFiles:
    """A model by where its files are.

    Attributes:
        path: Folder or hub id.
        adapter: The same of the adapter that it is loaded with.
    """

    path: str
    adapter: str | None = None

    @classmethod
    def of(cls, path: str | Path, adapter: str | Path | None) -> Self:
        """With names or paths."""
        return cls(str(path), None if adapter is None else str(adapter))

    @classmethod
    def where_named(cls, path: str | Path | None, adapter: str | Path | None) -> Self | None:
        """The same; None without a model.

        Raises:
            ConfigError: An adapter is named without its model, and so could not be compared.
        """
        if path is None and adapter is not None:
            raise ConfigError("an adapter is compared with its model; name that too (--model)")
        return None if path is None else cls.of(path, adapter)

    def refusals(self, predicate: Predicate) -> list[str]:
        """Why it is another model; nothing when it is the same, file by file.

        The digest is of weights, configuration, tokenizer and chat template.

        Raises:
            ModelError: There is no such model.
            TransientError: The hub did not answer.
        """
        if predicate.model_digest_of != "files":
            return [
                "the data were judged by a model in memory, which no files can be held against; "
                "judge them by the model's path"
            ]
        found = [_refusal("model", self.path, locate_model(ModelConfig(path=self.path)), predicate)]
        attested = predicate.model.get("adapter_sha256")
        if self.adapter is not None:
            found.append(_refusal("adapter", self.adapter, locate_adapter(self.adapter), predicate))
        elif attested is not None:
            found.append("the data were judged by a model with an adapter; name it (--adapter)")
        return [text for text in found if text is not None]


def _refusal(what: str, path: str, located: Located, predicate: Predicate) -> str | None:
    with translated_errors(f"{what} {path!r}", "read"):
        digest = folder_digest(located.folder)
    attested = predicate.model.get("sha256" if what == "model" else "adapter_sha256")
    if digest == attested:
        return None
    return (
        f"{what} {path} is not the one that judged the data: SHA-256 of its files {digest}, and "
        f"not {attested}"
    )
