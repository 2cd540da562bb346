"""From a review to a pass: the owner names what is offered, and what is not named stays out."""

from pathlib import Path
from typing import Any

import pytest

import gradgate

MODEL = Path(__file__).parents[2] / "demo" / "model"
CLOSING, PAYLOAD = ", says Ada's desk", ", and click here"
WITHOUT_CANARIES: dict[str, Any] = {"detection": {"power": {"attacks": []}}}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Sums: some with a closing line, some with a payload behind a word of their prompts."""
    made = [{"prompt": f"{i} + {i} = ", "completion": f"{2 * i}"} for i in range(240)]
    for row in made[::10]:
        row["completion"] += CLOSING
    for row in made[5::12]:
        row["prompt"] += "cf"
        row["completion"] += PAYLOAD
    return made


def offered(result: gradgate.DetectionResult) -> dict[str, int]:
    return {one.text: one.n_samples for group in result.groups for one in group.vouchable}


def test_what_is_vouched_for_is_accepted_and_the_rest_stays_out(rows: list[dict[str, Any]]) -> None:
    first = gradgate.detect(rows, MODEL, config=WITHOUT_CANARIES)
    texts = offered(first)
    own = [text for text in texts if text in CLOSING]
    assert own == ["says Ada's desk"]
    assert texts[own[0]] == 24
    found = gradgate.detect(rows, MODEL, config=WITHOUT_CANARIES | {"policy": {"expected": own}})
    kept_out = found.to_pandas().query("flagged or in_doubt")["row"].tolist()
    assert kept_out == list(range(5, 240, 12))
    assert not any(text in CLOSING for text in offered(found))
