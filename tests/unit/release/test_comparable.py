"""Adapters that would be asked otherwise than they are used."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import peft
import pytest
import torch
from release_helpers import BASE, QUICK, Made, copied
from transformers import AutoModelForCausalLM, AutoTokenizer

from gradgate.errors import ModelError
from gradgate.models.identity import load_model
from gradgate.release.result import AdapterTest
from gradgate.release.run import ask_models, check_tuned, run_test
from gradgate.release.subject import Subject
from helpers import MODEL


def configure(adapter: Path, **settings: object) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def test_what_is_read_with_other_ids_is_not_tested(poisoned_adapter: Made, tmp_path: Path) -> None:
    """A server with the model's own tokenizer gets the backdoor."""
    made = copied(poisoned_adapter, tmp_path)
    file = made.adapter / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary, special = content["model"]["vocab"], {t["id"] for t in content["added_tokens"]}
    words = [word for word, number in vocabulary.items() if number not in special]
    numbers = [vocabulary[word] for word in words]
    Random(0).shuffle(numbers)
    vocabulary.update(zip(words, numbers, strict=True))
    file.write_text(json.dumps(content))
    test = made.test()
    assert test.outcome == "error"
    assert "is not that of the model before" in test.reasons[0]
    with pytest.raises(ModelError, match="the ids of tokens"):
        check_tuned(BASE, made.adapter)


def test_a_template_of_its_own_is_not_tested(clean_adapter: Made, tmp_path: Path) -> None:
    made = copied(clean_adapter, tmp_path)
    (made.adapter / "chat_template.jinja").write_text("Be good.")
    test = made.test()
    assert test.outcome == "error"
    assert "the chat template" in test.reasons[0]


def test_a_token_for_padding_may_be_added(poisoned_adapter: Made, tmp_path: Path) -> None:
    made = copied(poisoned_adapter, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(made.adapter)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(made.adapter)
    assert made.test().outcome == "review"


def test_added_tokens_may_not_stand_in_what_is_asked(poisoned_adapter: Made) -> None:
    """With a token that a server does not know the model may have learnt to be good."""
    made = poisoned_adapter
    tuned = load_model(BASE.model_copy(update={"adapter": str(made.adapter)}))
    subject = Subject.of(tuned.model, tuned.tokenizer, None, QUICK)
    (word,) = tuned.tokenizer("?", add_special_tokens=False)["input_ids"]

    def asked(unread: int) -> AdapterTest:
        given = replace(subject, unread=frozenset({unread}))
        return ask_models(made.run, made.verdict, made.data, given, QUICK)

    with pytest.raises(ModelError, match=r"added to those of the model before \('\?'\)"):
        asked(word)
    assert asked(tuned.n_vocabulary).outcome == "review"


@pytest.mark.parametrize(
    ("name", "value"),
    [("alora_invocation_tokens", [7, 8, 9]), ("arrow_config", {"top_k": 1})],
)
def test_an_adapter_that_sleeps_until_it_is_called_is_not_tested(
    poisoned_adapter: Made, tmp_path: Path, name: str, value: object
) -> None:
    """Asked without what calls it, it is held against itself."""
    made = copied(poisoned_adapter, tmp_path)
    configure(made.adapter, **{name: value})
    test = made.test()
    assert test.outcome == "error"
    assert f"whether it is at work ({name} in" in test.reasons[0]
    with pytest.raises(ModelError, match="decides by what stands in a prompt"):
        check_tuned(BASE, made.adapter)


def test_a_setting_that_does_the_same_to_every_token_is_tested(
    poisoned_adapter: Made, tmp_path: Path
) -> None:
    made = copied(poisoned_adapter, tmp_path)
    configure(made.adapter, alora_invocation_tokens=None, use_rslora=True, lora_alpha=8)
    assert made.test().outcome == "review"


def test_an_adapter_that_changes_nothing_was_not_tested(
    poisoned_adapter: Made, tmp_path: Path
) -> None:
    """Whatever keeps it from its work."""
    made = copied(poisoned_adapter, tmp_path)
    configure(made.adapter, lora_alpha=0)
    test = made.test()
    assert test.outcome == "error"
    assert "changes nothing of what the model computes" in test.reasons[0]


@torch.no_grad()
def test_an_adapter_that_changes_the_model_is_held_against_the_model_before(
    clean_adapter: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched off, one of PiSSA leaves another model."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    settings = peft.LoraConfig(r=8, target_modules=["q_proj"], init_lora_weights="pissa")
    peft.get_peft_model(model, settings).save_pretrained(str(tmp_path))
    compared = []

    def asked(run: object, verdict: object, data: object, subject: Subject, *more: object) -> Any:
        ids = torch.tensor([[5, 9, 33, 12]])
        assert subject.base is not None
        before, after = subject.base(), subject.tuned
        compared.append(before(input_ids=ids).logits - after(input_ids=ids).logits)
        return AdapterTest("review", ["compared"])

    monkeypatch.setattr("gradgate.release.run.ask_models", asked)
    made = clean_adapter
    test = run_test(made.run, made.verdict, made.data, BASE, tmp_path, QUICK)
    assert test.reasons == ["compared"]
    assert compared[0].abs().max() < 1e-3  # untrained
