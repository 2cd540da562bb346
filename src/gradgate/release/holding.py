"""What was trained is held back until its test passes, and says of itself what the test says."""

from pathlib import Path

from gradgate.common.escaping import escape
from gradgate.common.files import put_in_place, written_whole
from gradgate.errors import DataError
from gradgate.release.page import as_markdown
from gradgate.release.result import AdapterTest

_HEADING = "\n## Test of what was learnt\n"
_CARD = "README.md"


def write_test(test: AdapterTest, record: Path, page: Path) -> None:
    """Write the record of a test, and its page in Markdown."""
    for path, text in ((page, as_markdown(test)), (record, test.to_json())):
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")


def note_in_card(tuned: Path, test: AdapterTest) -> None:
    """Say in the model card what the test says; what an earlier test said is replaced."""
    text, _, _ = (tuned / _CARD).read_text(encoding="utf-8").partition(_HEADING)
    lines = [f"- Outcome: `{test.outcome}`", *(f"- Reason: {escape(r)}" for r in test.reasons)]
    with written_whole(tuned / _CARD) as part:
        part.write_text(f"{text}{_HEADING}\n" + "\n".join(lines) + "\n", encoding="utf-8")


def release(held: Path, released: Path, test: AdapterTest) -> None:
    """Give what was trained its name.

    Raises:
        DataError: Its test did not pass, or something has the name already.
    """
    if test.outcome != "pass":
        raise DataError(f"{held} is not released: its test says {test.outcome}")
    if released.exists():
        raise DataError(f"{held} is not released: {released} exists")
    put_in_place(held, released)
