"""Findings held against a trusted reference."""

from dataclasses import replace

import numpy as np
from scipy.stats import binom

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.association.ruling import Finding

MIN_REFERENCE_SUPPORT = 3  # samples of the reference that make a group honest


def against_reference(findings: list[Finding], is_trusted: Marks, fdr: float) -> list[Finding]:
    """Rule again on the findings that are not honest; members from the reference are left out.

    Were a group honest, its samples would come from the reference as often as any do. The binomial
    probability of so few, controlled over the findings by Benjamini and Hochberg, makes it poison.

    Args:
        findings: Of data and reference together.
        is_trusted: Which samples belong to the reference. (n,)
        fdr: False-discovery rate.
    """
    asked = [finding for finding in findings if finding.ruling != "honest"]
    share = float(is_trusted.mean())
    n_trusted = [int((finding.members & is_trusted).sum()) for finding in asked]
    p_values = np.array(
        [
            binom.cdf(k, int(finding.members.sum()), share)
            for k, finding in zip(n_trusted, asked, strict=True)
        ]
    )
    limit = _benjamini_hochberg(p_values, fdr)
    decided = [finding for finding in findings if finding.ruling == "honest"]
    for finding, k, p in zip(asked, n_trusted, p_values, strict=True):
        ruling = finding.ruling
        if p <= limit:
            ruling = "poison"
        elif k >= MIN_REFERENCE_SUPPORT:
            ruling = "honest"
        reason = (
            f"{k} of its {int(finding.members.sum())} samples are from the trusted reference, "
            f"which is {share:.0%} of all (p = {p:.2g})"
        )
        reasons, members = [*finding.reasons, reason], finding.members & ~is_trusted
        decided.append(replace(finding, ruling=ruling, reasons=reasons, members=members))
    return decided


def _benjamini_hochberg(p_values: Floats, fdr: float) -> float:
    """The largest p-value that is significant at this false-discovery rate; -1 when none is."""
    rank = p_values.argsort().argsort() + 1
    significant = p_values <= fdr * rank / max(1, len(p_values))
    return float(p_values[significant].max(initial=-1.0))
