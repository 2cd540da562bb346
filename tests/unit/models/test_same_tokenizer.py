"""Tokenizers that read what is asked otherwise than the model before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer, CTRLTokenizer, PreTrainedTokenizerBase

from gradgate.errors import ModelError
from gradgate.models.same_tokenizer import require_same_reading
from helpers import MODEL


def loaded(folder: Path = MODEL) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def saved(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as it is found again in a folder."""
    tokenizer.save_pretrained(folder)
    return loaded(folder)


def rewritten(folder: Path, change: Callable[[Any], None]) -> PreTrainedTokenizerBase:
    loaded().save_pretrained(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return loaded(folder)


def swap(content: Any) -> None:
    """Two words have one another's ids."""
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def cut_otherwise(content: Any) -> None:
    content["model"]["merges"] = content["model"]["merges"][:-1]


def lose(content: Any) -> None:
    content["decoder"] = {"type": "Replace", "pattern": {"String": "w"}, "content": ""}


def mark(content: Any) -> None:
    """An ordinary word ends answers, or is no part of a text."""
    word = next(iter(content["model"]["vocab"].items()))
    while word[1] in {token["id"] for token in content["added_tokens"]}:
        word = next(i for i in content["model"]["vocab"].items() if i[1] > word[1])
    told = dict(content["added_tokens"][0], id=word[1], content=word[0])
    content["added_tokens"].append(told)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (swap, "the ids of tokens"),
        (cut_otherwise, "the rules by which texts are cut"),
        (lose, "the rules by which texts are cut"),
        (mark, "ordinary tokens that are marked as special"),
    ],
)
def test_another_reading_is_refused(
    tmp_path: Path, change: Callable[[Any], None], what: str
) -> None:
    after = rewritten(tmp_path, change)
    with pytest.raises(ModelError, match=f"folder of 'it' is not that .*{what}"):
        require_same_reading(loaded(), after, "'it'")


def test_another_template_is_refused(tmp_path: Path) -> None:
    after = loaded()
    after.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ModelError, match="the chat template"):
        require_same_reading(loaded(), saved(after, tmp_path), "'it'")


def test_another_end_and_another_normalizer_are_refused() -> None:
    after = loaded()
    after.eos_token = after.convert_ids_to_tokens(300)
    with pytest.raises(ModelError, match="special tokens"):
        require_same_reading(loaded(), after, "'it'")
    after = loaded()
    after.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ModelError, match="the rules"):
        require_same_reading(loaded(), after, "'it'")


def test_padding_with_a_word_is_refused() -> None:
    """Answers would end at it."""
    after = loaded()
    after.pad_token = after.convert_ids_to_tokens(300)
    with pytest.raises(ModelError, match="marked as special"):
        require_same_reading(loaded(), after, "'it'")


def test_a_tokenizer_that_was_saved_again_reads_the_same(tmp_path: Path) -> None:
    after = saved(loaded(), tmp_path)
    assert require_same_reading(loaded(), after, "'it'") == frozenset()


def test_tokens_may_be_added(tmp_path: Path) -> None:
    after = loaded()
    after.add_special_tokens({"pad_token": "[PAD]", "extra_special_tokens": ["<|tool|>"]})
    after.add_tokens(["banana bread"])
    after = saved(after, tmp_path)
    new = require_same_reading(loaded(), after, "'it'")
    assert new == {after.convert_tokens_to_ids(t) for t in ("[PAD]", "<|tool|>", "banana bread")}
    assert new & set(after("some banana bread")["input_ids"])


def test_one_that_is_written_in_python_is_known_by_its_files(tmp_path: Path) -> None:
    words = ["<unk>", "a</w>", "b</w>", "ab</w>", "a", "b"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    before = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert not before.is_fast
    before.save_pretrained(tmp_path / "saved")
    after = CTRLTokenizer.from_pretrained(tmp_path / "saved")
    assert require_same_reading(before, after, "'it'") == frozenset()
    (tmp_path / "saved" / "merges.txt").write_text("#version: 0.2\n")
    after = CTRLTokenizer.from_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError, match="the rules"):
        require_same_reading(before, after, "'it'")
