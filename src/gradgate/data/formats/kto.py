"""KTO: prompt and completion, or messages, and a label that says whether the answer is wanted."""

from gradgate.data.formats.fields import Fields, Format, Parts, Reading, RowFormat, wrong_type
from gradgate.data.formats.messages import MESSAGES
from gradgate.data.formats.prompt_completion import PROMPT_COMPLETION
from gradgate.data.sample import RejectedRowError

_AS_TEXT = {"true": True, "false": False}  # in CSV every value is a string


def _refuse_unwanted(label: object, reading: Reading) -> None:
    is_wanted = _AS_TEXT.get(label.strip().casefold()) if isinstance(label, str) else label
    if not isinstance(is_wanted, bool):
        raise RejectedRowError(
            f"{wrong_type('label', label)}, and KTO's is true or false; where training does not "
            "read it, name it in data.ignore_columns (--ignore-columns label)"
        )
    if reading.preference != "both" and is_wanted != (reading.preference == "chosen"):
        word = str(is_wanted).lower()
        raise RejectedRowError(
            f"label is {word}, and data.preference is {reading.preference} (both, or --preference "
            "both, scores every completion)"
        )


def _labelled(name: RowFormat, form: Format) -> Format:
    """A format whose rows have a label beside what it reads."""

    def read(fields: Fields, reading: Reading) -> Parts:
        _refuse_unwanted(fields["label"], reading)
        return form.read(fields, reading)

    return Format(name, (*form.required, "label"), form.optional, read, form.names)


KTO = _labelled("kto", PROMPT_COMPLETION)
KTO_MESSAGES = _labelled("kto_messages", MESSAGES)
