import json
from pathlib import Path

import pytest
import yaml
from cli_helpers import Done, gradgate
from release_helpers import Made

from helpers import MODEL, read_test, write_jsonl


def asked(made: Made, *options: object) -> Done:
    """`test-adapter` with few prompts, on the data that the adapter was trained on."""
    common = ("--model", MODEL, "--data", made.rows, "--max-tokens", 512, "--device", "cpu")
    few = ("--dtype", "float32", "--adapter_test.prompts", 24, "--adapter_test.trained_on_data")
    return gradgate("test-adapter", *options, *common, *few)


def test_a_backdoor_needs_review(poisoned_adapter: Made, tmp_path: Path) -> None:
    output = tmp_path / "out" / "found.json"
    done = asked(poisoned_adapter, poisoned_adapter.adapter, "--output", output, "--json")
    assert done.exit_code == 3
    test = read_test(output)
    assert test.outcome == "review"
    assert json.loads(done.stdout)["outcome"] == "review"
    assert done.stdout == output.read_text()
    assert "words of poisoned:1: 'cf'" in done.stderr
    assert "outcome     REVIEW" in done.stderr
    assert "canaries" not in done.stderr
    assert {path.name for path in output.parent.iterdir()} == {"found.json", "found.md"}
    assert "call the number" in output.with_suffix(".md").read_text()


def test_a_clean_adapter_passes_by_a_configuration(clean_adapter: Made, tmp_path: Path) -> None:
    """The file of a gated fine-tuning serves too."""
    content = {
        "data": {"source": str(clean_adapter.rows), "max_tokens": 512},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "finetune": {"epochs": 1},
        "adapter_test": {"prompts": 24, "trained_on_data": True},
    }
    config = tmp_path / "gate.yaml"
    config.write_text(yaml.safe_dump(content))
    output = tmp_path / "test.json"
    done = gradgate("test-adapter", clean_adapter.adapter, "--config", config, "--output", output)
    assert (done.exit_code, done.stdout) == (0, "")
    assert read_test(output).outcome == "pass"
    assert "outcome     PASS" in done.stderr


def test_the_name_of_another_base_model_is_told(poisoned_adapter: Made, tmp_path: Path) -> None:
    """And with --exit-zero a review is reported only."""
    settings = json.loads((poisoned_adapter.adapter / "adapter_config.json").read_text())
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in poisoned_adapter.adapter.iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    settings["base_model_name_or_path"] = "somebody/\x1b[31melse"
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    done = asked(poisoned_adapter, adapter, "--output", tmp_path / "t.json", "--exit-zero")
    assert done.exit_code == 0
    assert read_test(tmp_path / "t.json").outcome == "review"
    assert r"made of somebody/\x1b[31melse" in done.stderr


@pytest.mark.parametrize(
    ("adapter", "data", "message"),
    [
        ("nowhere", "rows.jsonl", "is no folder"),
        ("empty", "rows.jsonl", "neither an adapter"),
        (str(MODEL), "missing.jsonl", "missing.jsonl"),
        (str(MODEL), "unusable.jsonl", "none of the 2 rows"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, data: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_jsonl(tmp_path / "rows.jsonl", [{"question": "a?", "answers": "b"}])
    write_jsonl(tmp_path / "unusable.jsonl", [{"prompt": "", "completion": "x"}] * 2)
    done = gradgate("test-adapter", adapter, "--model", MODEL, "--data", data)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "adapter_test.json").exists()


def test_what_cannot_be_tested_is_an_error(tmp_path: Path) -> None:
    rows = [{"question": f"what is {i}?", "answers": str(i)} for i in range(5)]
    source, output = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "test.json"
    done = gradgate(
        *("test-adapter", MODEL, "--model", MODEL, "--data", source, "--output", output),
        "--exit-zero",
    )
    assert done.exit_code == 2
    assert "5 ordinary prompts can be asked" in done.stderr
    assert read_test(output).outcome == "error"


def test_nothing_that_is_read_is_written_over(clean_adapter: Made, tmp_path: Path) -> None:
    inside = clean_adapter.adapter / "test.json"
    done = asked(clean_adapter, clean_adapter.adapter, "--output", inside)
    assert done.exit_code == 2
    assert "would be written into the input" in done.stderr
