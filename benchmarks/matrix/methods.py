"""The methods that are compared: each flags rows and gives a verdict.

Those of gradgate, whatever is registered, are asked through the gate's own pipeline, so that flags
and verdict are the product's, and a method that asks the model asks the one that scored;
`gradsentry` for both of its modes, with tau = 0.7 where there is no
reliable valley, as published. Beside them stand two signals alone, which nobody would gate by:

- `length`, `loss`: the KDE valley on the logarithm of the number of target tokens and on the mean
  loss, each stretched to [0, 1]. The constant 0.7 means nothing on these scales; where the valley
  is not reliable, what lies above the upper Tukey fence (third quartile + 1.5 interquartile
  ranges) is flagged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import rankdata

from benchmarks.matrix.cells import DATA_SOURCES, digest_of
from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PolicyConfig, PowerConfig, ScoringConfig
from gradgate.data.prepare import Prepared
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.findings import Scored
from gradgate.gate.pipeline import judge, n_scored_rows
from gradgate.gate.policy import decide_by_fraction, limits_of
from gradgate.gate.verdict import Decision
from gradgate.gradients.score import Mode
from gradgate.methods.gradsentry.config import (
    GradsentryConfig,
    ThresholdConfig,
    UnreliableState,
)
from gradgate.methods.gradsentry.threshold import kde_valley
from gradgate.methods.registry import canonical_name, method_named, method_names

BASELINES = ("length", "loss")
_GRADSENTRY: dict[str, Mode] = {"gradsentry-crop": "crop", "gradsentry-full": "full"}
_PUBLISHED = GradsentryConfig(
    threshold=ThresholdConfig(bootstrap=0),
    without_valley=dict.fromkeys(get_args(UnreliableState), "published_constant"),
)
_SOURCES = (
    "benchmarks/matrix/methods.py",
    "src/gradgate/gate/*.py",
    "src/gradgate/methods/**/*.py",
)
"""The files that the results depend on, beside those that the scores depend on."""

SCORING = ScoringConfig(store_max_mib=None)
ORACLE_ALARMS = 0.01
_LEFT_OUT = ("gradgate.methods.peers.", "gradgate.methods.gradshield.")


def all_methods() -> list[str]:
    """The names of what can be compared: gradgate's methods, and the baselines.

    Other people's methods (`gradgate.methods.peers`), of which some train, are left out, and so are
    the built-in ones that look for harm, of which the matrix has none.
    """
    ours = [name for name in method_names() if name != "gradsentry" and _is_compared(name)]
    return [*ours, *_GRADSENTRY, *BASELINES]


def _is_compared(name: str) -> bool:
    return not type(method_named(name)).__module__.startswith(_LEFT_OUT)


@dataclass(frozen=True)
class ScoredRows:
    """A prepared and scored dataset; the arrays are in row order, shape (n,).

    Attributes:
        model: Folder or hub id of the model that scored.
    """

    model: str
    run: RunFolder
    prepared: Prepared
    entropy_crop: Floats
    entropy_full: Floats
    n_target_tokens: Floats
    loss: Floats


@dataclass(frozen=True)
class Outcome:
    """What a method says of n rows.

    Attributes:
        flagged: The rows that it calls poison. (n,)
        kept_out: Those and the quarantined ones: a training does without them. (n,)
        score: High where a row is suspicious; None where it is no order of the rows. (n,)
    """

    flagged: Marks
    kept_out: Marks
    verdict: Decision
    reasons: tuple[str, ...]
    score: Floats | None


def versions(model_sha256: str, methods: Sequence[str]) -> dict[str, str]:
    """A digest for each method; a result with another one has to be computed anew."""
    digest = digest_of((*DATA_SOURCES, *_SOURCES), model_sha256)
    return dict.fromkeys(methods, digest)


def detect_rows(method: str, rows: ScoredRows) -> Outcome:
    """Let one method judge a dataset, without the truth."""
    if method == "length":
        return _by_score(np.log(rows.n_target_tokens))
    if method == "loss":
        return _by_score(rows.loss)
    return _by_pipeline(method, rows)


def auroc(score: Floats, poisoned: Marks) -> float:
    """The chance that a poisoned row scores higher than an honest one, ties counting half."""
    n_poisoned, n_honest = int(poisoned.sum()), int((~poisoned).sum())
    ranks = rankdata(score)
    return float(
        (ranks[poisoned].sum() - n_poisoned * (n_poisoned + 1) / 2) / n_poisoned / n_honest
    )


def oracle_recall(score: Floats, poisoned: Marks) -> float:
    """Recall of the lowest threshold that flags at most `ORACLE_ALARMS` of the honest rows.

    Only who knows the truth can choose it: it is what the score could do at best.
    """
    honest = np.sort(score[~poisoned])[::-1]
    tau = honest[int(ORACLE_ALARMS * honest.size)]
    return float((score[poisoned] > tau).mean())


def _by_pipeline(method: str, rows: ScoredRows) -> Outcome:
    """The gate's own answer to the scored rows."""
    run = rows.run
    mode = _GRADSENTRY.get(method, "crop")
    if method in _GRADSENTRY:
        run = _with_entropy(rows, mode)
    name = canonical_name("gradsentry" if method in _GRADSENTRY else method)
    config = GateConfig(
        data=DataConfig(source=rows.prepared.source),
        model=ModelConfig(path=rows.model),
        scoring=SCORING.model_copy(update={"mode": mode}),
        detection=DetectionConfig(
            methods=[name], gradsentry=_PUBLISHED, power=PowerConfig(attacks=[])
        ),
    )
    verdict = judge(rows.prepared, Scored(n_scored_rows(run), {}), config, run)
    table = pq.read_table(run.flags, columns=["flagged", "in_doubt", "suspicion"])
    flagged, in_doubt = (
        np.array([mark is True for mark in table[name].to_pylist()], bool)
        for name in ("flagged", "in_doubt")
    )
    score = table["suspicion"].to_numpy() if method in _GRADSENTRY else None
    reasons = tuple(verdict.reasons[:4])
    return Outcome(flagged, flagged | in_doubt, verdict.decision, reasons, score)


def _with_entropy(rows: ScoredRows, mode: Mode) -> RunFolder:
    """A run whose deciding entropy is that of the mode; what a mode lacks counts as 0."""
    run = RunFolder(rows.run.path / mode)
    run.path.mkdir(exist_ok=True)
    if not run.samples.exists():
        run.samples.symlink_to(rows.run.samples)
    table = pq.read_table(rows.run.scores)
    entropy = rows.entropy_crop if mode == "crop" else rows.entropy_full
    at = table.schema.get_field_index("spectral_entropy")
    table = table.set_column(at, table.schema.field(at), [entropy.tolist()])
    pq.write_table(table, run.scores)
    return run


def _by_score(score: Floats) -> Outcome:
    low, high = float(score.min()), float(score.max())
    stretched = (score - low) / (high - low) if high > low else np.zeros_like(score)
    tau = kde_valley(stretched).tau
    return _above(stretched, upper_fence(stretched) if tau is None else tau)


def upper_fence(score: Floats) -> float:
    """Third quartile plus 1.5 interquartile ranges."""
    lower, upper = np.quantile(score, [0.25, 0.75])
    return float(upper + 1.5 * (upper - lower))


def _above(score: Floats, tau: float) -> Outcome:
    flagged = score > tau
    limits = limits_of(PolicyConfig(), "poisoned")
    decision, reasons = decide_by_fraction(int(flagged.sum()), int(flagged.size), limits)
    return Outcome(flagged, flagged, decision, tuple(reasons), score)
