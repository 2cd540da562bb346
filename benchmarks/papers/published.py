"""The papers' own figures, and why ours may differ.

GradSentry: arXiv 2605.26574, on Llama-2-7B, with 10 % poison unless said otherwise. GradShield:
arXiv 2605.14194. Only figures that were read in the papers stand here.
"""

from typing import Literal

Figure = Literal["recall", "F1", "false positives", "ASR", "kept of clean rows"]

GRADSENTRY: dict[str, dict[Figure, str]] = {
    "webqa": {"recall": "100 %", "F1": "69.7-73.4", "false positives": "8-9 %", "ASR": "0.00 %"},
    "coqa": {"recall": "100 %", "F1": "99.6-99.7", "false positives": "0.09 %", "ASR": "0.00 %"},
}
"""By dataset; the four attacks of the paper lie in the range."""

CLEAN_KEPT: dict[str, dict[str, str]] = {
    "webqa": {"gradsentry": "89.36 %", "graceful": "52.46 %", "cube": "79.45 %"},
    "coqa": {"gradsentry": "99.94 %", "graceful": "77.64 %", "cube": "56.76 %"},
}
"""By dataset and method: the part of clean data that is kept."""

MODULES = {
    "lm_head": "99.8",
    "first.attention": "18-23",
    "first.mlp": "18-23",
    "middle.attention": "18-23",
    "middle.mlp": "18-23",
    "last.mlp": "99.2-99.5",
}
"""F1 on FreebaseQA; the paper's middle layer is layer 15 of 32."""

DILUTION = {"recall": "100 %", "F1": "72-99.9"}
SAFETY = {"ASR": "below 6 %", "utility": "kept (GSM8K 87, AGNews 91, second-hand)"}

WHY = {
    "main": "The paper's model has 7 B parameters, and its loss on the answers is small; a small "
    "model is surprised by honest answers too, so that their gradients are as even as those of "
    "poison. Entropy is bounded by ln(min(T, 16)) / ln 16: answers of a few words stay below the "
    "appended target, longer ones do not. Where our false positives are higher, that is why; where "
    "a defence's ASR is not zero although its recall is, the rest was enough to teach the trigger. "
    "StyleBkd here is rewritten by rules, not by the paper's paraphraser.",
    "ratios": "Recurrence needs several rows that share a string, and a valley needs two modes: at "
    "1 % there may be too few rows for either, and at 90 % poison is what the data are.",
    "volumes": "The published rule falls back to tau = 0.7 below 30 rows; recurrence wants 5 rows "
    "that share a string, so that at 20 rows with 10 % poison, two rows, nothing can be found.",
    "clean": "GraCeFul cuts every dataset into two clusters and drops the smaller one, also when "
    "nothing is wrong.",
    "modules": "The crop of a small model's weight is a few dozen numbers wide: its sixteen "
    "singular values are nearly the whole of it, and early layers' gradients differ less from "
    "the head's than those of 32 layers do.",
    "dilution": "The prefix makes the target longer, and with it entropy: the attack raises the "
    "score that it wants to lower, on any model.",
    "safety": "The model is a small one that was taught to refuse by a few hundred rows; the "
    "paper's were aligned by their makers. A reply counts as harmful where it does not refuse, "
    "which is more than where it helps: a small model that stops refusing rarely helps.",
}
