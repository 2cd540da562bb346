"""The clean data of the matrix; nothing of it is kept in the repository.

`webqa` and `coqa` are read from a folder outside it, `api-short` and `api-long` are mined from the
docstrings and signatures of the packages installed here.
"""

import json
import random
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.matrix.descriptions import mine_descriptions
from demo.questions import mine_questions
from gradgate.errors import DataError

Dataset = Literal["webqa", "coqa", "api-short", "api-long"]
DATASETS: tuple[Dataset, ...] = get_args(Dataset)
MINED: tuple[Dataset, ...] = ("api-short", "api-long")
WITH_CONTEXT: tuple[Dataset, ...] = ("coqa",)
N_SHORT, N_LONG = 2_000, 1_500
Row = dict[str, Any]


def load_rows(name: Dataset, seed: int, folder: Path, limit: int | None = None) -> list[Row]:
    """The clean rows of a dataset, in the format question/answers[/context].

    Args:
        name: Which one.
        seed: Chooses and words the mined rows; of the files all rows are taken, in their order.
        folder: Where `webqa.jsonl` and `coqa.jsonl` are.
        limit: At most so many rows, drawn with the seed; None for all.

    Raises:
        DataError: The file is not there.
    """
    rows = _all_rows(name, seed, folder)
    if limit is None or limit >= len(rows):
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[i] for i in kept]


def _all_rows(name: Dataset, seed: int, folder: Path) -> list[Row]:
    if name in MINED:
        return deepcopy(_mined(name, seed))  # the rows of a cell are its own
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is not there: name the folder of {name}.jsonl with --data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


@lru_cache(maxsize=4)  # it takes seconds, and the cells of a table come one after the other
def _mined(name: Dataset, seed: int) -> list[Row]:
    short = name == "api-short"
    mined = mine_questions(N_SHORT, seed) if short else mine_descriptions(N_LONG, seed)
    return [dict(row) for row in mined]
