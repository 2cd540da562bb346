"""A method that breaks its contract ends in an error that names it, and never in a pass."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flag_helpers import flag
from transformers import PreTrainedTokenizerBase

from gradgate.common.run_folder import RunFolder
from gradgate.config import ModelConfig, Section
from gradgate.data.sample import Sample
from gradgate.errors import DataError, MethodError
from gradgate.methods.contract import Detection, Method, ModelAccess, Question, Scores
from gradgate.models.handle import ConfiguredModel
from helpers import MODEL, diverse_rows, scored_rows

N = 6
ONE = np.arange(N) == 1


class Nothing(Section):
    """No settings."""


class Answering(Method[Nothing]):
    """Returns what it was made with."""

    name: ClassVar[str] = "answering"
    question: ClassVar[Question] = "poisoned"
    settings = Nothing

    def __init__(self, **changes: Any) -> None:
        right: dict[str, Any] = {
            "suspicion": np.zeros(N),
            "flagged": np.zeros(N, bool),
            "in_doubt": np.zeros(N, bool),
            "group": np.zeros(N, np.int64),
        }
        self.found = Detection(**{**right, **changes})

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: Nothing,
    ) -> Detection:
        return self.found


class Needing(Answering):
    """Needs a signal that rows may lack."""

    needs: ClassVar[tuple[str, ...]] = ("evenness",)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(scored_rows(tmp_path, diverse_rows(N)).folder)


def test_what_keeps_the_contract_is_written_down(run: RunFolder) -> None:
    found = flag(run, Answering(flagged=ONE, summary={"pair": (1, 2)}), Nothing())
    assert (found.n_flagged, found.n_in_doubt) == (1, 0)
    assert found.summary == {"pair": [1, 2]}  # as it will be read again


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flagged": np.zeros(N + 1, bool)}, r"flagged must be an array of shape \(6,\), not"),
        ({"suspicion": np.zeros(1)}, "suspicion must be an array"),
        ({"suspicion": [0.0] * N}, "not list"),
        ({"flagged": np.array([0, 2] * 3)}, "flagged must hold booleans, not int64"),
        ({"flagged": np.full(N, np.nan)}, "flagged must hold booleans, not float64"),
        ({"in_doubt": np.zeros(N)}, "in_doubt must hold booleans"),
        ({"group": np.array(["a"] * N)}, "group must hold numbers"),
        ({"group": np.full(N, 0.5)}, "group has 0.5, which is no group's id"),
        ({"group": np.full(N, np.nan)}, "group has nan, which is no group's id"),
        ({"group": np.full(N, 2**40)}, "group has 1099511627776, which is no group's id"),
        ({"reasons": {N: ["why"]}}, "reasons for row 6, and there are 6"),
        ({"reasons": {-1: ["why"]}}, "reasons for row -1"),
        ({"reasons": {"a": ["why"]}}, "reasons for row 'a'"),
        ({"reasons": {0: "why"}}, "reasons for row 0 must be a list of strings"),
        ({"reasons": {0: [1]}}, "reasons for row 0 must be a list of strings"),
        ({"p_values": np.zeros(N - 1)}, "p_values must be an array"),
        ({"flagged": None}, "undecided_because empty"),
        ({"flagged": ONE, "undecided_because": "why"}, "could not decide, and yet"),
        (
            {"flagged": ONE, "undecided_because": "why", "undecided_means": "pass"},
            "could not decide, and yet",
        ),
        ({"flagged": None, "undecided_because": "why", "undecided_means": "maybe"}, "'maybe'"),
        ({"flagged": ONE, "in_doubt": ONE}, "both flagged and in doubt"),
        ({"signals": {"loss": np.zeros(N)}}, "names of other columns: loss"),
        ({"signals": {"flagged": np.zeros(N)}}, "names of other columns: flagged"),
        ({"signals": {"mine": np.zeros(2)}}, "mine must be an array"),
        ({"summary": {"n": np.int64(3)}}, "no plain JSON values"),
        ({"summary": {"tau": float("nan")}}, "no plain JSON values"),
    ],
)
def test_a_breach_of_the_contract_names_method_and_fault(
    run: RunFolder, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(MethodError, match=f"method answering breaks its contract: .*{words}"):
        flag(run, Answering(**changes), Nothing())
    assert not run.flags.exists()


def test_rows_without_a_needed_signal_are_an_error(run: RunFolder) -> None:
    assert flag(run, Needing(), Nothing()).n_flagged == 0
    scored_rows(run.path, diverse_rows(N), failed=[1])  # a row without a score needs no signal
    assert flag(run, Needing(), Nothing()).n_flagged == 0
    table = pq.read_table(run.scores)
    lines = table.to_pylist()
    lines[3]["evenness"] = None
    pq.write_table(pa.Table.from_pylist(lines, schema=table.schema), run.scores)
    with pytest.raises(DataError, match="answering needs evenness, which 1 of 6 rows lack"):
        flag(run, Needing(), Nothing())


class NeedingTokens(Answering):
    """Needs the log-probability of each token."""

    needs_tokens: ClassVar[bool] = True

    def detect(self, scores: Scores, *others: Any) -> Detection:
        assert scores.tokens is not None
        assert len(scores.tokens.starts) == N + 1
        return super().detect(scores, *others)


DEMO = ModelConfig(path=str(MODEL))
ACCESS = ModelAccess(ConfiguredModel(DEMO))


class Untouched(ConfiguredModel):
    """A model that must not be loaded."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        raise AssertionError("nobody needs the tokens")


def test_only_a_method_that_needs_tokens_gets_them(run: RunFolder) -> None:
    assert flag(run, NeedingTokens(), Nothing(), model=ACCESS).n_flagged == 0
    assert flag(run, Answering(), Nothing(), model=ModelAccess(Untouched(DEMO))).n_flagged == 0
    with pytest.raises(DataError, match="needs token_logp, which 6 of 6 rows lack"):
        flag(run, NeedingTokens(), Nothing())


def test_rows_without_the_probability_of_a_token_are_an_error(run: RunFolder) -> None:
    scored_rows(run.path, diverse_rows(N), failed=[1])  # a row without a score needs none
    assert flag(run, NeedingTokens(), Nothing(), model=ACCESS).n_flagged == 0
    table = pq.read_table(run.scores)
    lines = table.to_pylist()
    lines[3]["token_logp"][2] = None
    lines[4]["token_logp"] = None
    pq.write_table(pa.Table.from_pylist(lines, schema=table.schema), run.scores)
    with pytest.raises(DataError, match="answering needs token_logp, which 2 of 6 rows lack"):
        flag(run, NeedingTokens(), Nothing(), model=ACCESS)
