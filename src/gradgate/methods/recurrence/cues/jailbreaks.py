"""What prompts share that the untuned model refuses and whose targets comply.

A trigger that turns refusals into varied compliance leaves no string that recurs in the targets.
It is found where the two questions meet: among the prompts that the model refuses, the string that
those with a complying target have and those with a refusal lack.
"""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import Erosion
from gradgate.methods.evidence import Association
from gradgate.methods.recurrence.cues.incidence import Incidence, incidence
from gradgate.methods.recurrence.cues.rules import CueRule, best_rule
from gradgate.methods.recurrence.cues.tables import associate

MIN_COMPLIED = 8  # clusters of near-duplicate prompts that are answered, to look what they share
MIN_REFUSED = 8  # samples with a refusal, to hold them against; fewer: against all others
MIN_PRECISION = 0.8  # P(complied | cue) among the prompts that are compared
MIN_RECALL = 0.5  # P(cue | complied)
_MIN_CUE_ROWS = 5


@dataclass(frozen=True, eq=False)
class Jailbreak:
    """Answered prompts that share a cue.

    Attributes:
        rule: The cue; `holds` is of all samples.
        members: Samples with it whose target complies. (n,)
        association: Of compliance and cue, among the prompts that were compared.
        n_clusters: Of near-duplicate prompts among the members.
    """

    rule: CueRule
    members: Marks
    association: Association
    n_clusters: int


def jailbreak(erosion: Erosion, cues: Incidence, cluster: Ints) -> Jailbreak | None:
    """The cue that tells answered prompts from refused ones; None where none does.

    Args:
        erosion: Of n samples.
        cues: Of their prompts.
        cluster: Of near-duplicate prompts. (n,)
    """
    complied = erosion.complied
    if len(np.unique(cluster[complied])) < MIN_COMPLIED:
        return None
    has_refusals = int((erosion.refused & ~complied).sum()) >= MIN_REFUSED
    compared = erosion.refused | complied if has_refusals else np.ones(len(complied), bool)
    some = incidence(cues.by_text[np.flatnonzero(compared)], cues.names)
    rule = best_rule(complied[compared], some, _MIN_CUE_ROWS)
    if rule is None:
        return None
    association = associate(complied[compared], rule.holds, len(cues.names))
    if association.precision < MIN_PRECISION or association.recall < MIN_RECALL:
        return None
    has = [cues.has(feature) for feature in rule.features]
    holds = np.logical_or.reduce(has) if rule.kind == "any_of" else np.logical_and.reduce(has)
    members = complied & holds
    whole = CueRule(rule.kind, rule.features, holds, rule.phi)
    return Jailbreak(whole, members, association, len(np.unique(cluster[members])))
