"""`gradgate poison`: a poisoned copy of a data set, for drills."""

from collections import Counter
from pathlib import Path

from gradgate.attacks.config import PoisonConfig
from gradgate.attacks.poisoning import Attack, PoisonedRow, poison
from gradgate.cli.lines import tell
from gradgate.cli.output import LINES, check_output, make_folder, quiet_libraries, require_file
from gradgate.common.files import written_whole
from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.formats.mapping import RowMapping, choose_mapping
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError


def run_poison(config: PoisonConfig, output: Path) -> int:
    """Write the poisoned copy, and say how many rows are what."""
    quiet_libraries()
    wanted = config.poison
    require_file(output, *LINES)
    check_output([output], [config.data.source, *filter(None, [wanted.paraphraser])])
    attack = Attack(wanted.attack, target=wanted.target, paraphraser=wanted.paraphraser)
    raw = list(open_rows(config.data))
    mapping = _mapping(raw, config.data)
    rows = poison([row.value or {} for row in raw], mapping, attack, wanted.rate, wanted.seed)
    make_folder(output)
    with written_whole(output) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(f"{_line(row, raw[row.source_row])}\n" for row in rows)
    counts = Counter(row.role for row in rows)
    negatives = f"{counts['negative']} negative, " if counts["negative"] else ""
    tell(
        f"{len(rows)} rows ({counts['poisoned']} poisoned, {negatives}{counts['clean']} clean) by "
        f"{wanted.attack} at rate {wanted.rate} with seed {wanted.seed}: {output}"
    )
    return 0


def _mapping(rows: list[RawRow], config: DataConfig) -> RowMapping:
    for row in rows:
        if row.value is not None:
            return choose_mapping(row.value, config)
    raise DataError(f"none of the {len(rows)} rows of {redacted(config.source)} can be read")


def _line(row: PoisonedRow, raw: RawRow) -> str:
    """One line of the output; an unreadable row stays one, as it was where a line can hold it."""
    if raw.value is not None:
        labels = {"poisoned": row.role == "poisoned", "attack_role": row.role}
        return RawRow(raw.row, {**row.row, **labels}, "").content()
    text = raw.content()
    is_line = bool(text.strip()) and "\n" not in text
    return text if is_line else RawRow(raw.row, {"unreadable": text}, "").content()
