"""What the methods and the canaries have found, kept so that a run can go on behind a review."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from gradgate.common.files import file_sha256
from gradgate.common.json_values import faults_in
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.accounts import FILES
from gradgate.gate.flags import Flagging
from gradgate.gate.verdict import ProbingSet, TrustedReference
from gradgate.power.measurement import Measured

TABLES = (
    *("dataset.json", "samples.parquet", "rejected.parquet"),
    *("scores.parquet", "flags.parquet", "findings.json"),
)


@dataclass(frozen=True)
class Scored:
    """A score table: how many of its rows have a score, and which model scored them.

    Attributes:
        model: Path, revision and digest of model and adapter.
        probes: That it was scored with; None for none.
    """

    n_scored: int
    model: dict[str, str | None]
    probes: ProbingSet | None = None


@dataclass(frozen=True)
class Findings:
    """All that a verdict rests on but the tables.

    Attributes:
        flaggings: What the methods say, before people have decided anything.
        scored: How many rows have a score, and by which model.
        measured: What canaries have shown.
        reference: That the findings were held against.
    """

    flaggings: Sequence[Flagging]
    scored: Scored
    measured: Measured
    reference: TrustedReference | None = None

    def save(self, run: RunFolder) -> None:
        """Write findings.json."""
        plain = Findings(
            self.flaggings,
            Scored(self.scored.n_scored, self.scored.model, self.scored.probes),
            self.measured,
            self.reference,
        )
        text = json.dumps(asdict(plain), allow_nan=False)
        run.findings.write_text(f"{text}\n", encoding="utf-8")

    @classmethod
    def load(cls, run: RunFolder) -> "Findings":
        """Read findings.json.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            return TypeAdapter(Findings).validate_json(run.findings.read_bytes(), strict=True)
        except ValidationError as error:
            raise DataError(f"{run.findings} holds no findings: {faults_in(error)}") from error
        except OSError as error:
            raise DataError(f"{run.findings} holds no findings: {error}") from error


def files_taken_over(run: RunFolder) -> dict[str, str]:
    """SHA-256 of each file that a run takes over which goes on behind this one, by its name."""
    paths = [run.path / name for name in TABLES]
    paths += [run.rows / name for name in sorted(FILES)]
    return {
        path.relative_to(run.path).as_posix(): file_sha256(path) for path in paths if path.exists()
    }
