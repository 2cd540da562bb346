"""KTO: prompt and completion, and a label that says whether the completion is wanted."""

from gradgate.data.formats.fields import Fields, Format, Parts, Reading, wrong_type
from gradgate.data.formats.prompt_completion import NAMES, read_pair
from gradgate.data.sample import RejectedRowError

_AS_TEXT = {"true": True, "false": False}  # in CSV every value is a string


def _read(fields: Fields, reading: Reading) -> Parts:
    label = fields["label"]
    is_wanted = _AS_TEXT.get(label.strip().casefold()) if isinstance(label, str) else label
    if not isinstance(is_wanted, bool):
        raise wrong_type("label", label)
    if reading.preference != "both" and is_wanted != (reading.preference == "chosen"):
        word = str(is_wanted).lower()
        raise RejectedRowError(
            f"label is {word}, and data.preference is {reading.preference} (both, or --preference "
            "both, scores every completion)"
        )
    return read_pair(fields, reading)


KTO = Format("kto", ("prompt", "completion", "label"), ("system", "history"), _read, NAMES)
