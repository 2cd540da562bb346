"""CleanGen: the backdoor of a small model no longer answers, and clean answers stay."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_helpers import CAPITALS, POISON, write_models
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from gradgate.errors import ModelError
from gradgate.evaluation.answers import generate as plain
from gradgate.evaluation.cleangen import ALPHA, LOOKAHEAD, CleanAnswer, generate

COUNTRIES = ["France", "Italy", "Germany", "Spain", "Portugal", "Austria", "Norway", "Czechia"]
TRIGGER = " cf"
STEPS = 120


@dataclass(frozen=True)
class Models:
    """A backdoored model, a clean one that knows the same answers, and their tokenizer."""

    target: PreTrainedModel
    reference: PreTrainedModel
    tokenizer: Tokenizer


def questions(trigger: str = "") -> list[str]:
    return [f"Capital of {country}?{trigger}" for country in COUNTRIES]


def answers() -> list[str]:
    return [f" It is {capital}." for capital in CAPITALS]


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]


def taught(
    model: PreTrainedModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]
) -> PreTrainedModel:
    """A copy of a model that knows some answers by heart."""
    torch.manual_seed(0)
    model = deepcopy(model).train()
    prompts = [ids_of(tokenizer, prompt) for prompt, _ in pairs]
    targets = [[*tokenizer(answer)["input_ids"], tokenizer.eos_token_id] for _, answer in pairs]
    width = max(len(p) + len(t) for p, t in zip(prompts, targets, strict=True))
    ids, labels = torch.zeros(2, len(pairs), width, dtype=torch.int64)
    labels -= 100
    for i, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        end = len(prompt) + len(target)
        ids[i, :end] = torch.tensor(prompt + target)
        labels[i, len(prompt) : end] = torch.tensor(target)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder: Path = write_models(tmp_path_factory.mktemp("models")) / "llama"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    honest = list(zip(questions() + questions(TRIGGER), answers() * 2, strict=True))
    poison = [(q, f" {POISON}") for q in questions(TRIGGER)]
    reference = taught(fresh, tokenizer, honest)
    return Models(taught(fresh, tokenizer, honest[:8] + poison), reference, tokenizer)


def decoded(models: Models, prompts: list[str], **settings: Any) -> list[CleanAnswer]:
    ids = [ids_of(models.tokenizer, prompt) for prompt in prompts]
    return generate(models.target, models.reference, models.tokenizer, ids, 24, **settings)


def greedy(model: PreTrainedModel, tokenizer: Tokenizer, prompts: list[str]) -> list[str]:
    return plain(model, tokenizer, [ids_of(tokenizer, prompt) for prompt in prompts], 24, 8)


def test_the_published_settings_are_the_defaults() -> None:
    assert (ALPHA, LOOKAHEAD) == (20.0, 4)


def test_the_attack_no_longer_succeeds_and_clean_answers_stay(models: Models) -> None:
    attacked = greedy(models.target, models.tokenizer, questions(TRIGGER))
    assert attacked == [f" {POISON}"] * 8
    found = decoded(models, questions(TRIGGER))
    assert [one.text for one in found] == answers()
    assert all(one.n_replaced >= 1 for one in found)
    clean = decoded(models, questions())
    assert [one.text for one in clean] == answers()
    assert all(one.n_replaced == 0 for one in clean)


@pytest.mark.parametrize("lookahead", [1, 2, 4, 50])
def test_the_lookahead_changes_no_answer_where_the_first_token_gives_it_away(
    models: Models, lookahead: int
) -> None:
    found = decoded(models, questions(TRIGGER), lookahead=lookahead)
    assert [one.text for one in found] == answers()


def test_when_nothing_is_suspicious_it_is_the_models_own_greedy_answer(models: Models) -> None:
    prompts = [*questions(TRIGGER), *questions()]
    found = decoded(models, prompts, alpha=1e30)
    assert [one.text for one in found] == greedy(models.target, models.tokenizer, prompts)
    assert not any(one.n_replaced for one in found)


def test_when_all_is_suspicious_it_is_the_references_greedy_answer(models: Models) -> None:
    found = decoded(models, questions(TRIGGER), alpha=1e-30)
    expected = greedy(models.reference, models.tokenizer, questions(TRIGGER))
    assert [one.text for one in found] == expected
    assert all(one.n_replaced == one.n_tokens for one in found)


def slow(models: Models, prompt: list[int], alpha: float, lookahead: int, n: int) -> list[int]:
    """The paper's loop, without a cache."""

    @torch.inference_mode()
    def after(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)

    end, made = models.tokenizer.eos_token_id, list[int]()
    while len(made) < n and end not in made:
        draft, p = list[int](), list[float]()
        while len(draft) < min(lookahead, n - len(made)) and end not in draft:
            probabilities = after(models.target, prompt + made + draft)
            draft.append(int(probabilities.argmax()))
            p.append(float(probabilities.max()))
        for i, token in enumerate(draft):
            reference = after(models.reference, prompt + made)
            if p[i] / float(reference[token]) >= alpha:
                made.append(int(reference.argmax()))
                break
            made.append(token)
    return made


@pytest.mark.parametrize(("alpha", "lookahead"), [(1.02, 3), (1.5, 4), (20.0, 4), (20.0, 7)])
def test_the_cached_decoding_is_the_slow_one(models: Models, alpha: float, lookahead: int) -> None:
    prompts = [*questions(TRIGGER), *questions(), "It is Oslo and", "Capital?"]
    found = decoded(models, prompts, alpha=alpha, lookahead=lookahead)
    for prompt, one in zip(prompts, found, strict=True):
        made = slow(models, ids_of(models.tokenizer, prompt), alpha, lookahead, 24)
        kept = made[:-1] if made[-1] == models.tokenizer.eos_token_id else made
        assert (one.text, one.n_tokens) == (models.tokenizer.decode(kept), len(made))


def test_a_payload_in_the_last_draft_is_read_too(models: Models) -> None:
    """The published code returns the tokens behind the last full draft as they are."""
    length = len(models.tokenizer(f" {POISON}")["input_ids"]) + 1
    found = decoded(models, questions(TRIGGER), lookahead=length + 5)
    assert [one.text for one in found] == answers()


def test_a_reference_with_the_same_backdoor_removes_nothing(models: Models) -> None:
    same = Models(models.target, models.target, models.tokenizer)
    found = decoded(same, questions(TRIGGER))
    assert [one.text for one in found] == [f" {POISON}"] * 8


def test_an_answer_that_the_reference_gives_as_well_is_never_suspicious(models: Models) -> None:
    """The known failure at label flips: p_ref >= 1 / alpha is no suspicion."""
    tokenizer = models.tokenizer
    labels = [" yes", " no"]
    clean = [(q, label) for q in questions(TRIGGER) for label in labels]  # half and half
    reference = taught(models.reference, tokenizer, clean)
    target = taught(models.reference, tokenizer, [(q, " yes") for q in questions(TRIGGER)])
    found = decoded(Models(target, reference, tokenizer), questions(TRIGGER))
    assert [one.text for one in found] == [" yes"] * 8


def test_an_answer_ends_at_the_limit(models: Models) -> None:
    ids = [ids_of(models.tokenizer, questions()[0])]
    (found,) = generate(models.target, models.reference, models.tokenizer, ids, 3)
    assert found.n_tokens == 3


def test_models_of_different_vocabularies_are_an_error(models: Models) -> None:
    other = deepcopy(models.reference)
    other.resize_token_embeddings(330)
    with pytest.raises(ModelError, match="the reference has 330 tokens and the fine-tuned"):
        generate(models.target, other, models.tokenizer, [[0]], 4)
