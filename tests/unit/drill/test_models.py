"""The models of a drill: trained on what the gate did not flag, and left nowhere."""

from pathlib import Path

import numpy as np
import pytest
from drill_helpers import MODEL_CONFIG, QUICK
from transformers import PreTrainedTokenizerBase

from gradgate.config import DataConfig
from gradgate.data.prepare import prepare
from gradgate.drill.models import Asking, run_arm
from gradgate.errors import DataError
from gradgate.models.loading import load_tokenizer
from helpers import question_rows, write_jsonl


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(MODEL_CONFIG)


def test_flags_on_every_row_leave_nothing_to_train_on(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    source = DataConfig(source=str(write_jsonl(tmp_path / "r.jsonl", question_rows(5))))
    prepared = prepare(source, tokenizer, 512, tmp_path / "run")
    asking = Asking([], 4, 4)
    with pytest.raises(DataError, match="not a single row is left"):
        run_arm(
            "gated", MODEL_CONFIG, QUICK, prepared.samples_path, np.zeros(5, dtype=bool), asking,
            tmp_path / "answers.jsonl",
        )  # fmt: skip
