"""The demo's mined questions are true, varied and reproducible; its training script works.

Nothing is replaced by a stand-in: the packages installed here are read, and answers are
compared with what `inspect` says about the really imported objects.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import statistics
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo.apis import unambiguous
from demo.questions import MAX_SAME_BASE, Fact, ask, docstrings, mine_facts, mine_questions
from demo.sources import PACKAGES, installed_packages, module_name, package_root, python_files
from demo.train_model import Options, run

SEED = 11
ROWS = 400
CHEAP_TO_IMPORT = ("numpy", "scipy", "pandas")
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    return mine_facts(ROWS, SEED)


def imported(path: str) -> Any:
    """Import the longest importable prefix of a dotted path and walk the rest of it."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise LookupError(path)


def is_true(fact: Fact) -> bool:
    """Compare a fact's answers with what the living object says."""
    target = imported(fact.path)
    if fact.kind == "base":
        (base,) = target.__bases__
        return base.__name__ == fact.answers[0].rsplit(".", 1)[-1]
    if fact.kind == "returns":
        return has_return_annotation(inspect.unwrap(target), fact.answers[0])
    parameters = inspect.signature(target).parameters
    if fact.kind == "default":
        return repr(parameters[fact.parameter].default) == fact.answers[0]
    return tuple(without_receiver(list(parameters))) == fact.answers


def has_return_annotation(function: Any, mined: str) -> bool:
    """Compare annotations as text where they are kept as text, else as objects."""
    annotation = function.__annotations__["return"]
    if isinstance(annotation, str):
        return ast.unparse(ast.parse(annotation.strip("'\""))) == mined
    return bool(eval(mined, function.__globals__) == annotation)


def without_receiver(names: list[str]) -> list[str]:
    return names[1:] if names[0] == "self" else names


def test_mined_answers_are_what_inspect_says(facts: list[Fact]) -> None:
    checked = [fact for fact in facts if fact.path.startswith(CHEAP_TO_IMPORT)]
    wrong = [fact for fact in checked if not is_true(fact)]

    assert not wrong
    assert len(checked) > 50
    assert {fact.kind for fact in checked} == {"default", "parameters", "returns", "base"}


def test_same_seed_gives_the_same_rows(facts: list[Fact]) -> None:
    """Asked for again, and asked for fewer: the same rows in the same order."""
    assert mine_questions(20, SEED) == [ask(fact, SEED) for fact in facts[:20]]


def test_another_seed_gives_other_rows(facts: list[Fact]) -> None:
    assert mine_facts(20, SEED + 1) != facts[:20]


def test_rows_do_not_depend_on_the_process() -> None:
    """String hashing differs between processes; neither order nor answers may follow it."""
    code = "from demo.questions import mine_questions; print(mine_questions(20, 3))"
    outputs = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code]
        outputs.add(subprocess.check_output(command, env=environment, text=True))

    assert len(outputs) == 1


def test_no_question_comes_twice(facts: list[Fact]) -> None:
    questions = [ask(fact, SEED)["question"] for fact in facts]

    assert len(facts) == ROWS
    assert len(set(questions)) == len(questions)


def test_packages_take_turns(facts: list[Fact]) -> None:
    counts = Counter(fact.path.split(".")[0] for fact in facts)
    fair = ROWS / len(installed_packages())

    assert set(counts) <= set(PACKAGES)
    assert max(counts.values()) <= 1.3 * fair


def test_only_public_names_are_asked_about(facts: list[Fact]) -> None:
    parts = {part for fact in facts for part in (*fact.path.split("."), *fact.parameter.split())}

    assert not [part for part in parts if part.startswith(("_", "test"))]


def test_answers_are_mostly_short(facts: list[Fact]) -> None:
    """The rows are meant as short factual answers: a value, a name, a handful of names."""
    lengths = [len(", ".join(fact.answers)) for fact in facts]
    listed = [len(fact.answers) for fact in facts]

    assert statistics.median(lengths) <= 12
    assert sum(length <= 40 for length in lengths) >= 0.9 * len(lengths)
    assert max(listed) <= 6
    assert all(answer and "\n" not in answer for fact in facts for answer in fact.answers)


def test_default_values_lead_and_every_kind_occurs(facts: list[Fact]) -> None:
    counts = Counter(fact.kind for fact in facts)

    assert counts.most_common(1)[0][0] == "default"
    assert counts["default"] >= 0.45 * ROWS
    assert min(counts[kind] for kind in ("parameters", "returns", "base")) >= 0.04 * ROWS


def test_wording_varies(facts: list[Fact]) -> None:
    defaults = [fact for fact in facts if fact.kind == "default"]
    openings = {ask(fact, SEED)["question"].split()[0] for fact in defaults}

    assert openings >= {"What", "In", "Which", "When"}


def test_rows_hold_exactly_question_and_answers(facts: list[Fact]) -> None:
    row = ask(facts[0], SEED)

    assert set(row) == {"question", "answers"}
    assert isinstance(row["answers"], list)


def test_ambiguous_definitions_are_left_out() -> None:
    body = ast.parse(
        "def plain(): ...\n"
        "def rebound(): ...\nrebound = decorate(rebound)\n"
        "if flag:\n    def conditional(): ...\n"
        "def replaced(): ...\ntry:\n    from fast import replaced\nexcept ImportError: pass\n"
        "def deleted(): ...\ndel deleted\n"
    ).body

    assert set(unambiguous(body)) == {"plain"}


def test_docstrings_are_many_and_distinct() -> None:
    texts = list(islice(docstrings(), 2000))

    assert len(texts) == len(set(texts)) == 2000
    assert sum(map(len, texts)) > 700_000
    assert all(text == text.strip() and text for text in texts)


def test_files_are_sorted_and_free_of_tests() -> None:
    root = package_root("numpy")
    assert root is not None
    files = [path.relative_to(root).as_posix() for path in python_files(root)]
    names = [module_name(root, root / file) for file in files]

    assert files == sorted(files)
    assert {"numpy", "numpy.linalg", "numpy.ma.core"} <= set(names)
    assert not [name for name in names if "tests" in name.split(".")]


def test_an_absent_package_has_no_root() -> None:
    assert package_root("no_such_package_for_gradgate") is None


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three steps of the training script, run as a user runs it, leave behind."""
    folder = tmp_path_factory.mktemp("demo") / "model"
    options = ["--steps", "3", "--max-docs", "60", "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "demo.train_model", *options]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder


def test_training_script_writes_a_whole_folder(model_folder: Path) -> None:
    names = {path.name for path in model_folder.iterdir()}
    size = sum(path.stat().st_size for path in model_folder.iterdir())
    card = (model_folder / "README.md").read_text(encoding="utf-8")

    assert names == {"README.md", "model.safetensors", *JSON_FILES}
    assert size < 9_500_000
    assert not model_folder.with_name("model.part").exists()
    assert "| training documents | 59 |" in card
    assert "| numpy |" in card
    assert str(model_folder.parent) not in card


def test_trained_model_loads_and_scores(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    ids = torch.tensor([tokenizer("Return the mean.", add_special_tokens=False)["input_ids"]])
    loss = model(ids, labels=ids).loss

    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == len(tokenizer)
    assert 4 < loss < 12


def test_tokenizer_adds_nothing_and_round_trips(model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    text = " Naïve “mean” — 数値 🙂\n\tdon't , stop . "
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.pad_token_id == 0
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer("", add_special_tokens=False)["input_ids"] == []


def test_a_finished_model_is_not_overwritten(model_folder: Path) -> None:
    with pytest.raises(FileExistsError):
        run(Options(steps=1, output=model_folder, max_docs=1))


def test_few_rows_name_the_same_base_class() -> None:
    facts = mine_facts(1200, SEED)
    named = Counter(fact.answers for fact in facts if fact.kind == "base")
    assert max(named.values()) == MAX_SAME_BASE
