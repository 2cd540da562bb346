"""What a chat template is given beside the messages: tools, documents, its own arguments."""

from collections.abc import Collection, Mapping

from gradgate.data.formats.content import medium
from gradgate.data.formats.fields import list_of, shown, wrong_type
from gradgate.data.sample import RejectedRowError

_MEDIA = frozenset({"image", "images", "audio", "audios", "video", "videos"})


def template_inputs(row: Mapping[str, object], ignored: Collection[str]) -> dict[str, object]:
    """The inputs that a row has, by the name under which a template knows them.

    Raises:
        RejectedRowError: They are nothing that a template can be given.
    """
    there = {name: row[name] for name in row if name not in ignored and not _is_empty(row[name])}
    found: dict[str, object] = {}
    if "tools" in there and "functions" in there:
        raise RejectedRowError("tools beside functions")
    for name in ("tools", "functions", "documents"):
        if name in there and (values := _objects(there[name], name)):
            found["tools" if name == "functions" else name] = values
    arguments = there.get("chat_template_kwargs")
    if arguments is not None:
        if not isinstance(arguments, dict):
            raise wrong_type("chat_template_kwargs", arguments)
        found["chat_template_kwargs"] = arguments
    return found


def refuse_media(row: Mapping[str, object], ignored: Collection[str]) -> None:
    """Refuse a row with a column of images, sounds or films.

    Raises:
        RejectedRowError: Names the column, and the cure.
    """
    for name in _MEDIA.intersection(row).difference(ignored):
        if not _is_empty(row[name]):
            raise RejectedRowError(
                f"{medium(name)} in column {name}: only text can be scored (where training does "
                f"not read it, name it in data.ignore_columns: --ignore-columns {name})"
            )


def _objects(value: object, name: str) -> list[object]:
    values = list_of(value, name)
    if not all(isinstance(one, dict) for one in values):
        raise RejectedRowError(f"wrong type: {shown(name)} holds no objects")
    if name != "functions":
        return values
    return [{"type": "function", "function": one} for one in values]


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)
