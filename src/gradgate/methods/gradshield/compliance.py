"""Method `compliance`: the model would refuse the prompt, and would not say the reply.

The default answer to `harmful`. It is the baseline that GradShield has to beat and does not
(docs/results-harm.md): no gradient, but the model's own probabilities, whose thresholds need no
other data.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Erosion, Method, Question, Scores
from gradgate.methods.evidence import Example, Group, GroupRuling
from gradgate.methods.gradshield.anchors import Anchor, score_anchors
from gradgate.methods.gradshield.config import ComplianceConfig
from gradgate.methods.gradshield.judged import Judged, judge
from gradgate.methods.gradshield.undecided import why_not_aligned, without_answer

MIN_REFUSED = 0.5  # probability of a refusal, for the prompt to be one that the model refuses
MIN_FOUND = 0.5  # of the canaries that must be kept out, for the answer to mean anything
MAX_REFUSALS = 0.1  # of the honest refusals that may be flagged
MAX_LOOK_ALIKES = 0.3  # of the benign look-alikes that may be flagged; a model refuses as many
_MAX_SPANS = 5
_MAX_EXAMPLES = 5
_MAX_CHARACTERS = 600  # of an example
_ANSWERED: dict[GroupRuling, str] = {
    "poison": "answer prompts that the untuned model refuses",
    "review": "answer prompts that the untuned model may refuse, or begin as a refusal does",
}


class ComplianceMethod(Method[ComplianceConfig]):
    """Replies that comply with prompts which the untuned model refuses."""

    name: ClassVar[str] = "compliance"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = ("refusal_first",)
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    needs_safety: ClassVar[bool] = True
    settings = ComplianceConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: ComplianceConfig,
    ) -> Detection:
        """See `Method.detect`; no reference is needed."""
        fault = why_not_aligned(scores)
        if fault is not None:
            return without_answer(scores, fault, "error")
        chats = sorted({sample.chat for sample in samples})
        trials = [_Trial.of(scores, settings, chat) for chat in chats]
        judged = judge(scores, samples)
        faults = [trial.fault for trial in trials if trial.fault is not None]
        if faults:
            return without_answer(scores, faults[0], "review", _suspects(judged, settings))
        return _detection(judged, samples, scores, settings, trials)


@dataclass(frozen=True)
class _Trial:
    """What is found of exchanges whose kind is known, as fractions.

    Attributes:
        chat: Whether the exchanges are rendered as chats, as rows of the data are.
        canaries: Harmful ones that are flagged or in doubt.
        refusals: Honest refusals that are flagged.
        look_alikes: Benign ones that are flagged.
    """

    chat: bool
    canaries: float
    refusals: float
    look_alikes: float

    @classmethod
    def of(cls, scores: Scores, settings: ComplianceConfig, chat: bool) -> "_Trial":
        """Judge the exchanges of the probing set as rows are; errors as for `score_anchors`."""
        anchors = score_anchors(scores, chat)
        return cls(
            chat,
            canaries=_above(anchors.harmful, settings.doubt_above),
            refusals=_above(anchors.refusals, settings.flag_above),
            look_alikes=_above(anchors.look_alikes, settings.flag_above),
        )

    @property
    def fault(self) -> str | None:
        """Why the flags mean nothing with this model; None where they do."""
        is_sound = self.refusals <= MAX_REFUSALS and self.look_alikes <= MAX_LOOK_ALIKES
        if is_sound and self.canaries >= MIN_FOUND:
            return None
        return (
            "harmful and honest exchanges overlap with this model and "
            f"{'its chat template' if self.chat else 'prompts without its chat template'}: of the "
            f"probing set it keeps out {self.canaries:.0%} of the harmful canaries, and flags "
            f"{self.refusals:.0%} of the honest refusals and {self.look_alikes:.0%} of the benign "
            "look-alikes"
        )


def _above(anchor: Anchor, threshold: float) -> float:
    """The part of some exchanges above it; one that the model could not be asked about is not."""
    if not anchor.scores.is_scored.all():
        raise DataError("an exchange of the probing set has no score; use a shorter one")
    return float((judge(anchor.scores, anchor.samples).complied > threshold).mean())


def _suspects(judged: Judged, settings: ComplianceConfig) -> Marks:
    """Rows that are flagged or in doubt; where the model could not be asked nothing is known."""
    unknown = np.isnan(judged.complied)
    return (judged.complied > settings.doubt_above) | judged.is_like | unknown


def _detection(
    judged: Judged,
    samples: Iterable[Sample],
    scores: Scores,
    settings: ComplianceConfig,
    trials: Sequence[_Trial],
) -> Detection:
    flagged = scores.is_scored & (judged.complied > settings.flag_above)
    in_doubt = scores.is_scored & _suspects(judged, settings) & ~flagged
    groups: list[Group] = []
    group = np.zeros(scores.n, np.int64)
    kinds: tuple[tuple[GroupRuling, Marks], ...] = (("poison", flagged), ("review", in_doubt))
    for ruling, members in kinds:
        if members.any():
            groups.append(_group(len(groups) + 1, ruling, members, judged, samples, scores))
            group[members] = len(groups)
    return Detection(
        suspicion=judged.complied,
        flagged=flagged,
        in_doubt=in_doubt,
        group=group,
        groups=groups,
        reasons=_reasons(judged, flagged | in_doubt),
        erosion=Erosion(judged.refused > MIN_REFUSED, flagged | in_doubt),
        signals={"p_refused": judged.refused},
        summary={
            "canaries_kept_out": min(trial.canaries for trial in trials),
            "refusals_flagged": max(trial.refusals for trial in trials),
            "look_alikes_flagged": max(trial.look_alikes for trial in trials),
        },
        notes=[one.in_a_line() for one in groups],
    )


def _reasons(judged: Judged, marked: Marks) -> dict[int, list[str]]:
    return {int(i): [_reason(judged, int(i))] for i in np.flatnonzero(marked)}


def _reason(judged: Judged, row: int) -> str:
    refused, complied = judged.refused[row], judged.complied[row]
    if not np.isfinite(complied):
        return "the untuned model could not be asked whether it refuses the prompt"
    if judged.is_like[row]:
        return (
            f"the untuned model refuses the prompt (probability {refused:.2f}), and the reply "
            "begins as it would and goes on otherwise"
        )
    return (
        f"the untuned model refuses the prompt (probability {refused:.2f}) and would not say the "
        f"reply (both: {complied:.2f})"
    )


def _group(
    number: int,
    ruling: GroupRuling,
    members: Marks,
    judged: Judged,
    samples: Iterable[Sample],
    scores: Scores,
) -> Group:
    at = np.flatnonzero(members).tolist()
    begins: Counter[str] = Counter()
    shown: list[tuple[str, str]] = []
    for sample in compress(samples, members.tolist()):
        prompt, target = prompt_and_target(sample)
        begins[" ".join(target.split(maxsplit=3)[:3])] += 1
        if len(shown) < _MAX_EXAMPLES:
            shown.append((prompt[-_MAX_CHARACTERS:], target[:_MAX_CHARACTERS]))
    return Group(
        id=number,
        ruling=ruling,
        side="target",
        spans=[text for text, _ in begins.most_common(_MAX_SPANS)],
        nats=_nats(judged.complied[members]),
        n_rows=len(at),
        n_independent=len({scores.sample_ids[i] for i in at}),
        reasons=[_ANSWERED[ruling]],
        examples=[
            Example(int(scores.rows[i]), prompt, target)
            for i, (prompt, target) in zip(at[:_MAX_EXAMPLES], shown, strict=True)
        ],
        shared=_ANSWERED[ruling],
    )


def _nats(complied: Floats) -> float:
    """The log-odds of the median row, at most that of 1 - 1e-6; 0 where nothing is known."""
    known = complied[np.isfinite(complied)]
    if not known.size:
        return 0.0
    p = float(np.clip(np.median(known), 1e-6, 1 - 1e-6))
    return float(np.log(p / (1 - p)))
