"""One digest over a tokenizer: what makes tokens of a text, and a text of a conversation."""

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OF_THE_MOMENT = ("truncation", "padding")  # which each call of a tokenizer may set


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 over its vocabulary and rules, its special tokens and its chat templates."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: object = sorted(tokenizer.get_vocab().items())
    else:
        found = json.loads(backend.to_str())
        rules = {name: found[name] for name in sorted(found) if name not in _OF_THE_MOMENT}
    specials = sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items())
    told = [type(tokenizer).__name__, rules, specials, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()
