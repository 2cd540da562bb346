"""The tokenizer: that of the adapter's folder where there is one, else the model's."""

import json
import logging
from functools import cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gradgate.config import ModelConfig
from gradgate.models.errors import translated_errors
from gradgate.models.folder import explain_tokenizer_files, require_tokenizer_files
from gradgate.models.locating import TEMPLATE, Located, options

logger = logging.getLogger(__name__)

_SETTINGS = "tokenizer_config.json"
_DECISIVE = ("tokenizer.json", _SETTINGS, "tokenizer.model", TEMPLATE)
# What transformers writes down of how a tokenizer was loaded, when it saves it again.
_LOADED = ("is_local", "local_files_only", "name_or_path")


def load_located_tokenizer(
    config: ModelConfig, model: Located, adapter: Located | None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that was located; errors as for `load_model`.

    An adapter that was trained with other tokens or another chat template has them in its folder:
    they are what its training saw, and go before the model's.
    """
    if adapter is None or config.adapter is None:
        return _load(config.path, model)
    if adapter.has_tokenizer:
        if _differ(model.folder, adapter.folder):
            _say_once(f"the tokenizer and chat template of adapter {config.adapter!r} are used")
        return _load(config.adapter, adapter)
    tokenizer = _load(config.path, model)
    template = adapter.folder / TEMPLATE
    if template.exists():
        with translated_errors(f"the chat template of adapter {config.adapter!r}"):
            tokenizer.chat_template = template.read_text(encoding="utf-8")
        _say_once(f"the chat template of adapter {config.adapter!r} is used")
    return tokenizer


def _load(path: str, located: Located) -> PreTrainedTokenizerBase:
    with translated_errors(f"the tokenizer of {path!r}"):
        require_tokenizer_files(located.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, **options(located))
            tokenizer("a", add_special_tokens=False)  # settings of a wrong type show only here
        except Exception:
            explain_tokenizer_files(located.folder)
            raise
        if set(tokenizer.get_vocab().values()) <= set(tokenizer.added_tokens_decoder):
            # transformers makes one up where the files of the vocabulary are missing
            raise ValueError("it has no vocabulary; is tokenizer.json (or tokenizer.model) there?")
        return tokenizer


def _differ(one: Path, other: Path) -> bool:
    return any(_content(one / name) != _content(other / name) for name in _DECISIVE)


def _content(file: Path) -> object:
    if not file.exists():
        return None
    content = file.read_bytes()
    if file.name != _SETTINGS:
        return content
    try:
        settings = json.loads(content)
        return {name: value for name, value in settings.items() if name not in _LOADED}
    except (ValueError, AttributeError, RecursionError):
        return content  # damaged: what loads it says so


@cache
def _say_once(text: str) -> None:
    """A run loads its tokenizer several times."""
    logger.warning("%s", text)
