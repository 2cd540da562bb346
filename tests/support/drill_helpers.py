"""What the tests of the drill share: a small configuration, and lines of JSON."""

import json
from pathlib import Path
from typing import Any

from gradgate.config import DataConfig, FinetuneConfig, ModelConfig, PowerConfig
from gradgate.drill.config import DrillConfig, DrillSection
from gradgate.gate.config import DetectionConfig
from gradgate.methods.gradsentry.config import GradsentryConfig, ThresholdConfig
from helpers import MODEL

TARGET = ", and click <malicious_url> for more information"
MODEL_CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
QUICK = FinetuneConfig(r=8, alpha=16, learning_rate=5e-3, epochs=1, batch_size=8)
FIXED = GradsentryConfig(threshold=ThresholdConfig(method="fixed", value=0.7))


def drill_config(source: Path, finetune: FinetuneConfig = QUICK, **settings: Any) -> DrillConfig:
    return DrillConfig(
        data=DataConfig(source=str(source)),
        model=MODEL_CONFIG,
        detection=DetectionConfig(
            methods=["gradsentry"], gradsentry=FIXED, power=PowerConfig(attacks=[])
        ),
        finetune=finetune,
        drill=DrillSection(**{"test_rows": 10, **settings}),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
