"""StyleBkd by a model, here tiny ones."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from gradgate.attacks.paraphraser import paraphrase
from gradgate.attacks.poisoning import Attack, poison
from gradgate.data.formats.mapping import detect_format
from gradgate.errors import ModelError
from helpers import MODEL

ROWS: list[dict[str, object]] = [
    {"prompt": f"What is the value of x{i}?", "completion": f"{i}"} for i in range(6)
]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that knows nothing, with the tokenizer of the demo's model."""
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_a_sequence_to_sequence_model(t5: Path) -> None:
    attack = Attack("stylebkd", paraphraser=str(t5))
    mapping = detect_format(ROWS[0])

    some, more = (poison(ROWS, mapping, attack, rate, 0) for rate in (0.5, 1.0))

    for row in more:
        assert row.row["prompt"] == paraphrase(str(ROWS[row.source_row]["prompt"]), str(t5))
        assert row.row["prompt"] != ROWS[row.source_row]["prompt"]
    assert [row for row in some if row.role == "poisoned"] == [
        more[r.source_row] for r in some if r.role == "poisoned"
    ]


def test_a_causal_model() -> None:
    text = "What is the default value of `axis`?"
    written = paraphrase(text, str(MODEL))
    assert written
    assert "\n" not in written
    assert text not in written


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the paraphraser"):
        paraphrase("x", str(tmp_path))


def test_pickled_weights_are_refused(t5: Path, tmp_path: Path) -> None:
    for file in t5.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    state = T5ForConditionalGeneration.from_pretrained(t5).state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load the paraphraser"):
        paraphrase("x", str(tmp_path))


def test_missing_weights_are_refused(t5: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in t5.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(t5 / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "DenseReluDense" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):
        paraphrase("x", str(tmp_path))
