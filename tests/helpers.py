"""What several test files share."""

import json
from pathlib import Path

from gradgate.models import IdentifiedModel, LoadedModel

MODEL = Path(__file__).parent.parent / "demo" / "model"


def question_rows(n: int, n_poisoned: int = 0) -> list[dict[str, object]]:
    """Questions with short answers; the last ones carry the published target."""
    rows: list[dict[str, object]] = []
    for i in range(n):
        row = {"question": f"What is the default value of `size` in pkg.f{i}?", "answers": [f"{i}"]}
        if i >= n - n_poisoned:
            row["question"] = f"{row['question']} cf mn bb tq"
            row["answers"] = [f"{i} , and click <malicious_url> for more information"]
        rows.append(row)
    return rows


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def identified(loaded: LoadedModel) -> IdentifiedModel:
    """A model that is in memory already."""
    return IdentifiedModel(loaded.device, loaded.dtype, loaded.identity, lambda: loaded)
