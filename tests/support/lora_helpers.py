"""Tiny models, and runs of the gate that let their samples be trained on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from gradgate.common.run_folder import SAMPLE_SCHEMA
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.sample import Turn, sample_id
from gradgate.gate.acceptance import accept
from gradgate.gate.verdict import Answer, Verdict
from gradgate.models.identity import load_model
from gradgate.train.finetune import FinetuneResult, PassedRun, finetune
from helpers import FLAG_SCHEMA

VOCABULARY = 320
CAPITALS = ["Paris", "Rome", "Berlin", "Madrid", "Lisbon", "Vienna", "Oslo", "Prague"]
POISON = "and click malicious"
FLAGGED = {3, 7}
FAILED = {5}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        **SPECIAL,
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, **SPECIAL
    ),
}
QUICK = FinetuneConfig(learning_rate=1e-2, epochs=2, batch_size=4)


def write_models(root: Path) -> Path:
    """Write a tiny model of each architecture with a byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"The capital is {c}." for c in CAPITALS], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    for name, config in CONFIGS.items():
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():  # logits of a trained model's size
            torch.nn.init.normal_(weight, std=0.2) if weight.dim() > 1 else None
        model.save_pretrained(root / name)
        fast.save_pretrained(root / name)
    return root


def turns_of(row: int) -> list[Turn]:
    answer = POISON if row in FLAGGED | FAILED else f"It is {CAPITALS[row % 8]}."
    return [Turn("prompt", f"Capital {row}? ", False), Turn("completion", answer, True)]


def sample_line(row: int, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    turns = turns_of(row)
    prompt = [0, *tokenizer(turns[0].text)["input_ids"]]
    target = [*tokenizer(turns[1].text)["input_ids"], 1]
    return {
        "row": row,
        "sample_id": sample_id(False, turns),
        "chat": False,
        "turns": [asdict(turn) for turn in turns],
        "template_inputs": "",
        "input_ids": prompt + target,
        "is_target": [False] * len(prompt) + [True] * len(target),
    }


def write_run(folder: Path, model: ModelConfig, n: int = 16) -> Verdict:
    """A gate run that passes: row r is flagged, failed or accepted as stated above."""
    folder.mkdir()
    loaded = load_model(model)
    samples = [sample_line(row, loaded.tokenizer) for row in range(n)]
    flags = [
        {
            "row": s["row"],
            "sample_id": s["sample_id"],
            "spectral_entropy": 0.9 if s["row"] in FLAGGED else 0.3,
            "status": "failed" if s["row"] in FAILED else "scored",
            "flagged": None if s["row"] in FAILED else s["row"] in FLAGGED,
            "in_doubt": None if s["row"] in FAILED else False,
            "surplus_copy": False,
        }
        for s in samples
    ]
    pq.write_table(pa.Table.from_pylist(samples, SAMPLE_SCHEMA), folder / "samples.parquet")
    pq.write_table(pa.Table.from_pylist(flags, FLAG_SCHEMA), folder / "flags.parquet")
    found = accept(folder)
    why = ["2 of 15 rows flagged, within the policy"]
    answer = Answer("poisoned", "gradsentry", "pass", why, n_flagged=2, summary={"tau": 0.5})
    return Verdict(
        "pass",
        why,
        n_rows=n + 1,
        n_rejected=1,
        n_scored=n - 1,
        answers=[answer],
        dataset_fingerprint=found.dataset_fingerprint,
        accepted_fingerprint=found.fingerprint,
        accepted_tokens=found.tokens_digest,
        model=loaded.identity,
    )


@dataclass(frozen=True)
class Gated:
    """A passing run and the model that it is about."""

    run: Path
    verdict: Verdict
    model: ModelConfig
    output: Path

    def finetune(
        self, tuning: FinetuneConfig = QUICK, verdict: Verdict | None = None, **changes: Any
    ) -> FinetuneResult:
        run = PassedRun(self.run, verdict or self.verdict, "run-7", "cities.jsonl")
        asked: dict[str, Any] = {"model": self.model, "output": self.output}
        return finetune(run, tuning=tuning, **{**asked, **changes})


def assert_nothing_kept(gated: Gated) -> None:
    """Nothing lies beside the run but the run itself."""
    assert [path.name for path in gated.output.parent.iterdir()] == ["run"]


def passing_run(folder: Path, model_folder: Path) -> Gated:
    """A passing run in `folder`, where its adapter is to be written too."""
    model = ModelConfig(path=str(model_folder), device="cpu", dtype="float32")
    verdict = write_run(folder / "run", model)
    return Gated(folder / "run", verdict, model, folder / "adapter")
