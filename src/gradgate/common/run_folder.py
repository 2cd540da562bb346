"""The folder of a run: the name of every file in it, and the schema of every table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gradgate.common.arrays import Marks

SCORED, FAILED = "scored", "failed"  # what the column `status` says
KEEP, DROP = "keep", "drop"  # what the column `approved` says

_TURN = pa.struct(
    [
        ("role", pa.string()),
        ("text", pa.string()),
        ("is_target", pa.bool_()),
        ("extra", pa.string()),
    ]
)
SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("chat", pa.bool_(), nullable=False),
        pa.field("turns", pa.list_(_TURN), nullable=False),
        pa.field("template_inputs", pa.string(), nullable=False),
        pa.field("n_prompt_chars", pa.int64()),
        pa.field("n_target_chars", pa.int64()),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("is_target", pa.list_(pa.bool_()), nullable=False),
    ]
)
REJECTED_SCHEMA = pa.schema(
    [("row", pa.int64()), ("reason", pa.string()), ("content", pa.string())]
)
SCORE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("spectral_entropy", pa.float64()),
        pa.field("entropy_crop", pa.float64()),
        pa.field("entropy_full", pa.float64()),
        pa.field("evenness", pa.float64()),
        pa.field("gradient_recurrence", pa.float64()),
        pa.field("n_target_tokens", pa.int32(), nullable=False),
        pa.field("loss", pa.float64()),
        pa.field("gradient_norm", pa.float64()),
        pa.field("fihs_all", pa.float64()),
        pa.field("fihs_first", pa.float64()),
        pa.field("fihs_published", pa.float64()),
        pa.field("refusal_first", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("token_logp", pa.list_(pa.float16())),
    ]
)
# The columns of the scores that the flags repeat: not what is as long as the text.
REPEATED = [name for name in SCORE_SCHEMA.names if name != "token_logp"]
# Behind them; a method's own signals come between. Of several questions `flagged` is whether any
# method flags the row, null while one that cannot decide leaves it open; `in_doubt` whether any has
# it in doubt and none flags it; `reasons` are all methods', and the others the first method's.
FLAG_FIELDS = [
    pa.field("suspicion", pa.float64()),
    pa.field("flagged", pa.bool_()),
    pa.field("in_doubt", pa.bool_()),
    pa.field("p_value", pa.float64()),
    pa.field("reasons", pa.list_(pa.string())),
    pa.field("group", pa.int32()),
    pa.field("groups", pa.list_(pa.int32())),  # all that hold the row, `group` among them
    pa.field("surplus_copy", pa.bool_()),
    pa.field("approved", pa.string()),  # KEEP or DROP by people; null: nobody has decided
]
_OF_ROW = ("surplus_copy", "approved")  # whatever was asked
# `suspicion`, `p_value` and `group` are those of the first of the row's questions.
FLAGGED_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample_id", pa.string()),
        ("spectral_entropy", pa.float64()),
        ("n_target_tokens", pa.int32()),
        ("loss", pa.float64()),
        ("gradient_recurrence", pa.float64()),
        ("suspicion", pa.float64()),
        ("p_value", pa.float64()),
        ("reasons", pa.list_(pa.string())),
        ("group", pa.int32()),
        ("questions", pa.list_(pa.string())),  # by which the row is flagged, or in doubt
        ("prompt", pa.string()),
        ("target", pa.string()),
    ]
)
QUARANTINED_SCHEMA = FLAGGED_SCHEMA.append(
    pa.field("why", pa.string())  # `in doubt`, `copy` or `dropped`
)
_OF_ALL = ("flagged", "in_doubt", "reasons")
CHANGE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("row", pa.int64()),  # the first with the sample; of one that is gone, as it was
        ("change", pa.string()),  # new, gone, flagged or cleared
        ("flagged", pa.bool_()),  # null where one of the runs could not flag
        ("spectral_entropy", pa.float64()),
        ("spectral_entropy_before", pa.float64()),
    ]
)


# Where every row of the source went, in the order of the source.
ACCOUNT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # accepted, quarantine or rejected
        pa.field("why", pa.string(), nullable=False),  # in a word or two
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field("groups", pa.list_(pa.string()), nullable=False),  # such as poisoned:1
        pa.field("sample_id", pa.string()),  # null for a row that is no sample
    ]
)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its evidence; not all of the files need be there.

    Attributes:
        path: The folder itself.
    """

    path: Path

    @property
    def part(self) -> "RunFolder":
        """The folder while the run goes on."""
        return RunFolder(self.path.with_name(f"{self.path.name}.part"))

    @property
    def samples(self) -> Path:
        """The samples with their tokens (`SAMPLE_SCHEMA`); stays here."""
        return self.path / "samples.parquet"

    @property
    def rejected(self) -> Path:
        """Rows that are no samples, with the reason (`REJECTED_SCHEMA`)."""
        return self.path / "rejected.parquet"

    @property
    def source_rows(self) -> Path:
        """The rows as they were, until they are in `rows` (`data.kept_rows`)."""
        return self.path / "source.part"

    @property
    def rows(self) -> Path:
        """Accepted, quarantined and rejected rows as they were (`gate.accounts`); stays here."""
        return self.path / "rows"

    @property
    def dataset(self) -> Path:
        """What the samples were made of (`data.prepare.Prepared`)."""
        return self.path / "dataset.json"

    @property
    def scores(self) -> Path:
        """The score table (`SCORE_SCHEMA`)."""
        return self.path / "scores.parquet"

    @property
    def flags(self) -> Path:
        """`REPEATED` columns of the score table, and what the methods say (`FLAG_FIELDS`).

        Where several questions were asked, `question_fields` come behind them.
        """
        return self.path / "flags.parquet"

    @property
    def flagged(self) -> Path:
        """The flagged rows with their texts (`FLAGGED_SCHEMA`)."""
        return self.path / "flagged.parquet"

    @property
    def quarantined(self) -> Path:
        """Rows kept out though not flagged, with their texts (`QUARANTINED_SCHEMA`)."""
        return self.path / "quarantined.parquet"

    @property
    def findings(self) -> Path:
        """What the methods and the canaries have found (`gate.findings.Findings`)."""
        return self.path / "findings.json"

    @property
    def changes(self) -> Path:
        """What is other than in the last run (`CHANGE_SCHEMA`)."""
        return self.path / "changes.parquet"

    @property
    def verdict(self) -> Path:
        """The verdict (`gate.verdict.Verdict`)."""
        return self.path / "verdict.json"

    @property
    def attestation(self) -> Path:
        """The signed statement on the verdict (`attest.statement.Predicate`)."""
        return self.path / "attestation.json"

    @property
    def summary(self) -> Path:
        """The verdict in Markdown."""
        return self.path / "verdict.md"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def histogram(self) -> Path:
        """The distribution of the spectral entropies."""
        return self.path / "histogram.png"

    @property
    def config(self) -> Path:
        """The configuration, every default said."""
        return self.path / "config.yaml"

    @property
    def tracked(self) -> Path:
        """Where the run is in MLflow, and the process that builds it; written before all else."""
        return self.path / "run.json"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' pages."""
        return self.path / "data_docs"

    @property
    def adapter(self) -> Path:
        """The fine-tuned adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The fine-tuned model, after full-parameter tuning."""
        return self.path / "model"

    @property
    def held_adapter(self) -> Path:
        """The fine-tuned adapter while it is not tested, or did not pass."""
        return self.path / "adapter.held"

    @property
    def held_model(self) -> Path:
        """The same of a whole model."""
        return self.path / "model.held"

    @property
    def adapter_test(self) -> Path:
        """The test of what was learnt (`release.result.AdapterTest`)."""
        return self.path / "adapter_test.json"

    @property
    def adapter_test_page(self) -> Path:
        """The same for people, in Markdown."""
        return self.path / "adapter_test.md"

    def validation(self, suite: str) -> Path:
        """Great Expectations' record of a suite."""
        return self.path / f"validation_{suite}.json"


def flag_column(name: str, question: str, questions: Sequence[str]) -> str:
    """Where flags.parquet has what is said of a row for one of the questions that were asked.

    The first question's columns have plain names, but for those that are of all questions.

    Args:
        name: Of `FLAG_FIELDS`.
        question: One of them.
        questions: All, in their order.
    """
    is_first = question == questions[0] and name not in _OF_ALL
    return name if is_first or len(questions) == 1 else f"{question}_{name}"


def question_fields(questions: Sequence[str]) -> list[pa.Field]:
    """What flags.parquet has behind `FLAG_FIELDS`; nothing where one question was asked."""
    plain = [field for field in FLAG_FIELDS if field.name not in _OF_ROW]
    columns = [
        field.with_name(flag_column(field.name, question, questions))
        for question in questions
        for field in plain
    ]
    known = {field.name for field in plain}
    return [column for column in columns if column.name not in known]


def is_scored(table: pa.Table | pa.RecordBatch) -> Marks:
    """Which rows of a table with a column `status` have a score: (n,)."""
    return np.array([status == SCORED for status in table["status"].to_pylist()], dtype=bool)
