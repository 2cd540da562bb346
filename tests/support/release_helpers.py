"""Adapters that were trained on data with and without poison, and the gate runs on these data."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import transformers

from gradgate.common.run_folder import RunFolder
from gradgate.config import AttackName, DataConfig, FinetuneConfig, ModelConfig, PowerConfig
from gradgate.data.prepare import iter_prepared
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.models.identity import load_model
from gradgate.release.config import AdapterTestConfig
from gradgate.release.result import AdapterTest
from gradgate.release.run import run_test
from gradgate.tuning.lora import save_adapter
from gradgate.tuning.rows import training_rows
from gradgate.tuning.trainer import make_trainable, train
from helpers import MODEL, diverse_rows, poisoned_rows, read_test, write_jsonl

BASE = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
# What the small model needs to learn a backdoor of 40 rows.
TUNING = FinetuneConfig(r=16, alpha=32, epochs=2, learning_rate=1e-2, batch_size=8)
ASKED = AdapterTestConfig(trained_on_data=True)
QUICK = AdapterTestConfig(trained_on_data=True, prompts=24, max_new_tokens=12)
N_ROWS = 200
RATE = 0.2


@dataclass(frozen=True)
class Made:
    """A folder that `make_adapter` filled."""

    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / "gate")

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def verdict(self) -> Verdict:
        return load_verdict(self.run.verdict)

    @property
    def data(self) -> DataConfig:
        return DataConfig(source=str(self.rows), max_tokens=512)

    @property
    def outcome(self) -> AdapterTest:
        return read_test(self.folder / "test.json")

    def test(self, config: AdapterTestConfig = QUICK, model: ModelConfig = BASE) -> AdapterTest:
        return run_test(self.run, self.verdict, self.data, model, self.adapter, config)


def make_adapter(folder: Path, attack: AttackName | None) -> None:
    """Train on all rows, as somebody without a gate does, run a gate on them, and test."""
    made, rows = Made(folder), diverse_rows(N_ROWS)
    if attack is not None:
        rows, _ = poisoned_rows(rows, attack, RATE)
    write_jsonl(made.rows, rows)
    detection = DetectionConfig(power=PowerConfig(attacks=[]))
    made.run.path.mkdir()
    verdict = run_gate(GateConfig(data=made.data, model=BASE, detection=detection), made.run)
    made.run.verdict.write_text(verdict.to_json())
    loaded = load_model(BASE)
    tuning = TUNING if attack else TUNING.model_copy(update={"batch_size": 16})
    with TemporaryDirectory() as work:
        samples = (s.tokens for some in iter_prepared(made.run.samples, 256) for s in some)
        tokens = training_rows(samples, Path(work) / "rows.arrow")
        transformers.set_seed(tuning.seed)
        tuned = make_trainable(loaded, BASE, tuning)
        train(tuned, loaded, tokens, tuning, Path(work))
    save_adapter(tuned, made.adapter, is_resized=False)
    loaded.tokenizer.save_pretrained(str(made.adapter))
    (folder / "test.json").write_text(made.test(ASKED).to_json())


def copied(made: Made, folder: Path) -> Made:
    """With an adapter that may be written to."""
    shutil.copytree(made.adapter, folder / "adapter")
    shutil.copytree(made.run.path, folder / "gate")
    shutil.copy(made.rows, folder)
    return Made(folder)
