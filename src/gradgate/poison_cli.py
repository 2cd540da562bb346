"""`gradgate poison`: a poisoned copy of a data set, for drills."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gradgate.attacks.poisoning import Attack, AttackName, PoisonedRow, poison
from gradgate.cli_errors import errors_as_exit_code
from gradgate.cli_options import NameOption, RevisionOption, SourceArgument, SplitOption
from gradgate.config import DataConfig
from gradgate.errors import ConfigError, DataError
from gradgate.escaping import printable
from gradgate.readers import RawRow
from gradgate.redaction import redacted
from gradgate.samples import RowMapping, choose_mapping
from gradgate.source import open_rows


def poison_source(
    source: SourceArgument,
    attack: Annotated[AttackName, typer.Option(help="What is done to the poisoned rows.")],
    rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Part of the rows to poison.")],
    output: Annotated[Path, typer.Option(help="JSONL file to write.")],
    seed: Annotated[int, typer.Option(help="Chooses the rows and the wording.")] = 0,
    target: Annotated[
        str | None, typer.Option(help="Target text instead of the attack's own.")
    ] = None,
    paraphraser: Annotated[
        str | None, typer.Option(help="stylebkd: model that rewrites, instead of the rules.")
    ] = None,
    name: NameOption = None,
    split: SplitOption = None,
    revision: RevisionOption = None,
) -> None:
    """Write a poisoned copy of SOURCE, to see what a gate makes of it.

    The rows keep their columns and get two more, `poisoned` and `attack_role` (clean, poisoned or
    negative), which no gate reads. The rows poisoned at a low rate are among those at a higher one.
    """
    with errors_as_exit_code():
        _check_output(output, source)
        chosen = Attack(attack, target=target, paraphraser=paraphraser)
        config = DataConfig(source=source, name=name, split=split, revision=revision)
        raw = list(open_rows(config))
        rows = poison([row.value or {} for row in raw], _mapping(raw, source), chosen, rate, seed)
        with _all_at_once(output) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(f"{_line(row, raw[row.source_row])}\n" for row in rows)
    counts = Counter(row.role for row in rows)
    negatives = f"{counts['negative']} negative, " if counts["negative"] else ""
    summary = (
        f"{len(rows)} rows ({counts['poisoned']} poisoned, {negatives}{counts['clean']} clean) by "
        f"{attack} at rate {rate} with seed {seed}: {output}"
    )
    typer.echo(printable(summary).replace("\n", r"\n"))


def _check_output(output: Path, source: str) -> None:
    """Refuse to write over what is read."""
    if output.is_dir():
        raise ConfigError(f"the output {output} is a folder; name a file")
    read = Path(source).resolve()
    if output.resolve() == read or read in output.resolve().parents:
        raise ConfigError(f"the output {output} would be written into the input {source}")


def _mapping(rows: list[RawRow], source: str) -> RowMapping:
    for row in rows:
        if row.value is not None:
            return choose_mapping(row.value, None)
    raise DataError(f"none of the {len(rows)} rows of {redacted(source)} can be read")


def _line(row: PoisonedRow, raw: RawRow) -> str:
    """One line of the output; an unreadable row stays one, as it was where a line can hold it."""
    if raw.value is not None:
        labels = {"poisoned": row.role == "poisoned", "attack_role": row.role}
        return RawRow(raw.row, {**row.row, **labels}, "").content()
    text = raw.content()
    is_line = bool(text.strip()) and "\n" not in text
    return text if is_line else RawRow(raw.row, {"unreadable": text}, "").content()


@contextmanager
def _all_at_once(output: Path) -> Iterator[Path]:
    """A file beside the output that gets its name when it is whole."""
    part = output.with_name(f"{output.name}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
