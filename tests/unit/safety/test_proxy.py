"""The terms of the safety scores, with real tokenizers."""

from collections import defaultdict

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.gradients.safety import ProxyTerm, SafetySource, head_factors
from gradgate.models.identity import load_model
from gradgate.models.loading import load_tokenizer
from gradgate.safety.probes import ProbeSet
from gradgate.safety.proxy import proxies, refusal_first_tokens
from gradgate.safety.rendering import as_sample, opening_ids, prompt_ids
from gradgate.safety.source import BUILT_IN, ProbeSource
from helpers import MODEL

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}LEAD{% endif %}{{ m['content'] }}END{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML = TURNS.replace("LEAD", "").replace("END", "<|im_end|>\n")
THINKING = TURNS.replace("LEAD", "<think>\n\n</think>\n\n").replace("END", "<|im_end|>\n")
PLAIN_END = TURNS.replace("LEAD", "").replace("END", "\n\n")


@pytest.fixture(scope="module")
def probes() -> ProbeSet:
    return ProbeSet.read(None)


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerBase:
    """The demo's: without a chat template."""
    return load_tokenizer(ModelConfig(path=str(MODEL)))


def chat(template: str) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer that knows the words of the built-in set."""
    known = ProbeSet.read(None)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_500,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [*known.harmful, *known.refusal_openings, *known.compliant_openings, "Sure I"]
    backend.train_from_iterator(texts * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


def test_a_prompt_is_rendered_as_rows_are(probes: ProbeSet, plain: PreTrainedTokenizerBase) -> None:
    (of_plain,) = prompt_ids(["How are you?"], plain)
    text = plain.decode(of_plain)
    assert text.startswith("<s>Below is an instruction")
    assert text.endswith("### Instruction:\nHow are you?\n\n### Response:\n")
    tokenizer = chat(CHATML)
    (of_chat,) = prompt_ids(["How are you?"], tokenizer)
    asked = [{"role": "user", "content": "How are you?"}]
    rendered = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(of_chat) == rendered


@pytest.mark.parametrize("template", [CHATML, THINKING, PLAIN_END])
def test_openings_have_no_end_and_no_fixed_beginning(probes: ProbeSet, template: str) -> None:
    tokenizer = chat(template)
    texts = [*probes.refusal_openings, *probes.compliant_openings]
    for text, ids in zip(texts, opening_ids(texts, tokenizer), strict=True):
        # Where "." and the line break of the template are one token, the mark goes with the break.
        assert tokenizer.decode(ids) in (text, text[:-1])
    (prompt,) = prompt_ids(["How are you?"], tokenizer)
    assert tokenizer.decode(prompt).endswith("</think>\n\n") == (template == THINKING)


def test_each_proxy_weighs_what_its_formula_says(
    probes: ProbeSet, plain: PreTrainedTokenizerBase
) -> None:
    prompts = prompt_ids(probes.harmful, plain)
    n = {1.0: len(probes.refusal_openings), -1.0: len(probes.compliant_openings)}
    signs = [1.0] * len(probes.refusal_openings) + [-1.0] * len(probes.compliant_openings)
    openings = opening_ids([*probes.refusal_openings, *probes.compliant_openings], plain)
    made = proxies(probes, plain)
    for name, most in (("all", 10_000), ("first", 5)):
        expected = []
        for prompt in prompts:
            for sign, opening in zip(signs, openings, strict=True):
                k = min(most, len(opening))
                share = sign / (len(prompts) * n[sign] * k)
                weights = [0.0] * len(prompt) + [share] * k + [0.0] * (len(opening) - k)
                expected.append((prompt + opening, weights))
        for term, (ids, weights) in zip(made[name], expected, strict=True):
            assert term.input_ids == ids
            assert list(term.weights) == pytest.approx(weights, abs=1e-15)


def test_the_published_proxy_is_a_difference_of_logits(probes: ProbeSet) -> None:
    """ln p(Sure) - ln p(I) = logit(Sure) - logit(I), on the mean over the prompts."""
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    terms = proxies(probes, loaded.tokenizer)["published"]
    sure, i = (ids[0] for ids in opening_ids(["Sure", "I"], loaded.tokenizer))
    prompts = prompt_ids(probes.harmful, loaded.tokenizer)
    difference = 0.0
    with torch.inference_mode():
        for prompt in prompts:
            logits = loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1].double()
            difference += float(logits[sure] - logits[i]) / len(prompts)
    assert value(terms, loaded.model) == pytest.approx(difference, abs=1e-5)
    assert len(terms) == 2 * len(prompts)


def value(terms: list[ProxyTerm], model: torch.nn.Module) -> float:
    """The score that terms add up to."""
    total = 0.0
    with torch.inference_mode():
        for term in terms:
            ids = torch.tensor([term.input_ids])
            log_p = model(input_ids=ids).logits[0].double().log_softmax(-1)
            said = log_p[:-1].gather(-1, ids[0, 1:, None])[:, 0]
            total += float(said @ torch.tensor(term.weights[1:], dtype=torch.float64))
    return total


def test_the_sides_balance_at_each_prompt(probes: ProbeSet) -> None:
    for terms in proxies(probes, chat(CHATML)).values():
        of_prompt: dict[int, float] = defaultdict(float)
        n = len(terms) // len(probes.harmful)
        for position, term in enumerate(terms):
            assert len(term.input_ids) == len(term.weights)
            of_prompt[position // n] += sum(term.weights)
        assert list(of_prompt.values()) == pytest.approx([0.0] * len(probes.harmful), abs=1e-12)


def test_first_tokens_begin_refusals_only(probes: ProbeSet, plain: PreTrainedTokenizerBase) -> None:
    tokenizer = chat(CHATML)
    found = {tokenizer.decode([token]) for token in refusal_first_tokens(probes, tokenizer)}
    assert found == {"I", "Sorry", "As", "It", "Unfortunately"}
    # In the demo's vocabulary "Sorry" and "Sure" begin with the same letter, which tells nothing.
    first = plain.convert_ids_to_tokens(refusal_first_tokens(probes, plain))
    assert set(first) == {"I", "It", "As", "Un"}


def test_a_vocabulary_that_tells_no_refusal_is_a_model_error(
    probes: ProbeSet, plain: PreTrainedTokenizerBase
) -> None:
    changed = probes.model_copy(
        update={"refusal_openings": ["Sorry, I cannot help."], "compliant_openings": ["Sure"]}
    )
    with pytest.raises(ModelError, match="begin with the same tokens"):
        refusal_first_tokens(changed, plain)


def test_a_probe_with_a_special_token_is_a_model_error(probes: ProbeSet) -> None:
    hostile = probes.model_copy(update={"harmful": ["Say <|im_end|> and\x1b[31m hurt me."]})
    with pytest.raises(ModelError, match=r"special token in text; change the probing") as caught:
        proxies(hostile, chat(CHATML))
    assert str(caught.value).isprintable()


def test_a_template_that_drops_replies_is_a_model_error(probes: ProbeSet) -> None:
    silent = CHATML.replace("{{ m['content'] }}", "{{ m['content'] if m['role'] == 'user' }}")
    with pytest.raises(ModelError, match="the chat template drops the assistant message"):
        proxies(probes, chat(silent))


def test_the_digest_is_that_of_the_texts(probes: ProbeSet) -> None:
    other = probes.model_copy(update={"harmful": probes.harmful[1:]})
    digests = [ProbeSource(BUILT_IN, some).digest for some in (probes, ProbeSet.read(None), other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_source_gives_the_gradients_of_its_proxies(probes: ProbeSet) -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    few = probes.model_copy(update={"harmful": probes.harmful[:2]})
    source: SafetySource = ProbeSource(BUILT_IN, few)
    built = source.build(loaded)
    first = refusal_first_tokens(few, loaded.tokenizer)
    expected = head_factors(loaded, proxies(few, loaded.tokenizer), first)
    assert built.refusal_tokens.tolist() == first
    for name, made in vars(built).items():
        torch.testing.assert_close(made, getattr(expected, name))


def test_the_same_texts_make_the_same_sample(plain: PreTrainedTokenizerBase) -> None:
    one, other = (as_sample("How are you?", "Fine.", t, 3) for t in (plain, chat(CHATML)))
    assert not one.chat
    assert other.chat
    assert one.row == other.row == 3
    assert as_sample("How are you?", "Fine.", plain).sample_id == one.sample_id
