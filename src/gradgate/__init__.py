"""gradgate: a data-quality gate in front of LoRA fine-tuning.

>>> import gradgate
>>> rows = [{"prompt": f"{i} + {i} = ", "completion": f"{2 * i}"} for i in range(200)]
>>> gradgate.detect(rows, "demo/model").verdict.decision
'pass'

`detect` and `score` take a path, a hub id, a `datasets.Dataset`, a list of rows or the
`trainer_rows` of a trainer, and the path of a model or a loaded one with its tokenizer. What is
named here is imported when it is first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradgate.api import DetectionResult, ScoreResult, detect, score
    from gradgate.attest.callback import AttestedTraining
    from gradgate.attest.verification import verify
    from gradgate.data.trainer_rows import trainer_rows
    from gradgate.gate.config import GateConfig
    from gradgate.gate.verdict import Verdict
    from gradgate.methods.contract import Detection, Method
    from gradgate.methods.registry import register_method

__version__ = version("gradgate")
__all__ = [
    "AttestedTraining",
    "Detection",
    "DetectionResult",
    "GateConfig",
    "Method",
    "ScoreResult",
    "Verdict",
    "detect",
    "register_method",
    "score",
    "trainer_rows",
    "verify",
]

_HOMES = {
    "AttestedTraining": "gradgate.attest.callback",
    "Detection": "gradgate.methods.contract",
    "DetectionResult": "gradgate.api",
    "GateConfig": "gradgate.gate.config",
    "Method": "gradgate.methods.contract",
    "ScoreResult": "gradgate.api",
    "Verdict": "gradgate.gate.verdict",
    "detect": "gradgate.api",
    "register_method": "gradgate.methods.registry",
    "score": "gradgate.api",
    "trainer_rows": "gradgate.data.trainer_rows",
    "verify": "gradgate.attest.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradgate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
