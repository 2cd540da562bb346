"""`gradgate draw`: rows for somebody to look at, of which a trusted reference is made."""

from pathlib import Path

from gradgate.cli.lines import tell
from gradgate.cli.output import (
    LINES,
    PAGE,
    check_output,
    make_folder,
    quiet_libraries,
    require_file,
)
from gradgate.common.files import written_whole
from gradgate.config.drawing import DrawConfig
from gradgate.data.drawing import draw
from gradgate.data.rows.row import RawRow
from gradgate.data.sample import prompt_and_target
from gradgate.errors import ConfigError
from gradgate.methods.rehearsal.config import MIN_REFERENCE
from gradgate.report.drawn import DrawnRow, write_drawn


def run_draw(config: DrawConfig, output: Path, page: Path | None) -> int:
    """Write the rows and the page, and say what is to be done with them."""
    quiet_libraries()
    require_file(output, *LINES)
    if page is not None:
        require_file(page, *PAGE)
    check_output([output, *([] if page is None else [page])], [config.data.source])
    if page is not None and page.resolve() == output.resolve():
        raise ConfigError(f"rows and page cannot both be {output}; name another page")
    if output.exists():
        raise ConfigError(
            f"{output} is there already, and somebody may have looked at it; name another file"
        )
    drawn = draw(config)
    if page is not None:
        make_folder(page)
        rows = [DrawnRow(raw.row, *prompt_and_target(sample)) for raw, sample in drawn.rows]
        write_drawn(page, rows, config.data.source, output.name)
    make_folder(output)
    with written_whole(output) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(f"{RawRow(raw.row, raw.value, '').content()}\n" for raw, _ in drawn.rows)
    unusable = f", {drawn.n_unusable:,} of which are no samples" if drawn.n_unusable else ""
    tell(
        f"{len(drawn.rows):,} samples drawn from {drawn.n_rows:,} rows{unusable} "
        f"with seed {config.draw.seed}: {output}"
    )
    if len(drawn.rows) < MIN_REFERENCE:
        tell(f"a training on a reference needs {MIN_REFERENCE} samples")
    where = "it" if page is None else str(page)
    tell(
        f"look at each in {where}, delete the lines that you do not trust, and then: "
        f"gradgate detect ... --reference {output}"
    )
    return 0
