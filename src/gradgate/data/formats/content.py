"""The content of a chat message: a string, or a list of parts of which all are text."""

from collections.abc import Mapping

from gradgate.data.formats.fields import text_of
from gradgate.data.sample import RejectedRowError

_MEDIA = ("image", "audio", "video")


def content_text(content: object) -> str:
    """The text of a message's content.

    Raises:
        RejectedRowError: It is no text, or a part of it is none, such as an image.
    """
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    return text_of({"content": content}, "content")


def medium(names: object) -> str | None:
    """The medium that a name such as `image_url`, `input_audio` or `videos` speaks of, if any."""
    return next((m for m in _MEDIA if isinstance(names, str) and m in names.casefold()), None)


def _part(part: object) -> str:
    if not isinstance(part, dict):
        raise RejectedRowError("unsupported content part")
    there = {name: value for name, value in part.items() if value is not None}
    found = _medium_of(there)
    if found is not None:
        raise RejectedRowError(f"{found} part: only text can be scored")
    if there.get("type", "text") not in ("text", "input_text", "output_text") or not there:
        raise RejectedRowError("unsupported content part")
    if "text" in there and "value" in there:
        raise RejectedRowError("a content part with text and value")
    return text_of({"a content part": there.get("text", there.get("value"))}, "a content part")


def _medium_of(part: Mapping[str, object]) -> str | None:
    kinds = (medium(part.get("type")), *(medium(name) for name in part))
    return next((kind for kind in kinds if kind is not None), None)
