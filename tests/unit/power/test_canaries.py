"""Canaries: what the gate would see, measured without touching the data."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flag_helpers import flag
from transformers import PreTrainedTokenizerBase

from gradgate.attacks.attack import ATTACKS
from gradgate.attacks.texts import PARAPHRASED_TARGETS
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttackName, DataConfig, ModelConfig, PowerConfig, ScoringConfig
from gradgate.data.prepare import Prepared, SampleFile, prepare
from gradgate.data.sample import Sample
from gradgate.methods.contract import ModelAccess
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.models.handle import ConfiguredModel
from gradgate.models.loading import load_tokenizer
from gradgate.power.measurement import Measured, measure_power, set_aside
from gradgate.power.other_scores import CanaryModel
from gradgate.power.planting import TARGETS, Carriers
from gradgate.power.power import Power
from gradgate.scoring.likelihood import Likelihood
from helpers import MODEL, diverse_rows, write_jsonl, write_scores

DEMO_MODEL = ConfiguredModel(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
FIXED: list[AttackName] = ["badnets", "addsent", "cba", "replaced", "refusal", "long"]
PUBLISHED = ", and click <malicious_url> for more information"

Row = dict[str, object]


def texts(n: int) -> list[tuple[str, str]]:
    """Questions and answers."""
    return [(f"{row['question']}", f"{row['answers']}") for row in diverse_rows(n)]


def row(row_format: str, question: str, answer: str) -> Row:
    user = {"role": "user", "content": question}
    assistant = {"role": "assistant", "content": answer}
    first = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    rows: dict[str, Row] = {
        "question_answers": {"question": question, "answers": [answer]},
        "prompt_completion": {"prompt": question, "completion": answer},
        "messages": {"messages": [*first, user, assistant]},
        "chat": {"prompt": [*first, user], "completion": [assistant, user, assistant]},
        "text": {"text": f"Question: {question}\nAnswer: {answer}"},
    }
    return rows[row_format]


def chat_tokenizer() -> PreTrainedTokenizerBase:
    """The demo's tokenizer with a chat template."""
    tokenizer = load_tokenizer(ModelConfig(path=str(MODEL)))
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    return tokenizer


def prepared_of(folder: Path, rows: list[Row], with_chat: bool = False) -> Prepared:
    """Prepare rows with the demo's tokenizer, which gets a chat template when it needs one."""
    tokenizer = chat_tokenizer() if with_chat else DEMO_MODEL.tokenizer()
    config = DataConfig(source=str(write_jsonl(folder / "rows.jsonl", rows)))
    prepared = prepare(config, tokenizer, 1024, folder / "prepared")
    assert prepared.n_rejected == 0
    return prepared


def judged(folder: Path, rows: list[Row], with_chat: bool = False) -> RunFolder:
    """The folder of a run that method recurrence has judged."""
    run = write_scores(prepared_of(folder, rows, with_chat))
    ask = Likelihood(DEMO_MODEL, ScoringConfig(), None)
    method, settings = RecurrenceMethod(), RecurrenceConfig()
    flag(run, method, settings, model=ModelAccess(DEMO_MODEL, ask))
    return run


class Chatting(ConfiguredModel):
    """The demo's model with a chat template."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return chat_tokenizer()


def measured(run: RunFolder, config: PowerConfig, model: ConfiguredModel = DEMO_MODEL) -> Measured:
    method, settings = RecurrenceMethod(), RecurrenceConfig()
    return measure_power(run, method, settings, config, CanaryModel(model, ScoringConfig(), 512))


def carriers(run: RunFolder, config: PowerConfig) -> Carriers:
    return Carriers.of(SampleFile(run.samples), config)


def by_attack(found: Measured) -> dict[str, Power]:
    return {power.attack: power for power in found.power or []}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    rows = [row("prompt_completion", *text) for text in texts(300)]
    for changed in rows[::6]:
        changed["completion"] = "True"
    return judged(tmp_path_factory.mktemp("plain"), rows)


def test_fixed_targets_are_found_and_the_adaptive_attack_is_not(plain: RunFolder) -> None:
    config = PowerConfig(attacks=[*FIXED, "adaptive"])
    answer = measured(plain, config)
    assert [power.attack for power in answer.power or []] == config.attacks
    assert answer.not_tried == [
        "adaptive: missed, and whether 120 rows of it would show is not known: these data have no "
        "room for so many canaries"
    ]
    found = by_attack(answer)
    for name in FIXED:
        assert found[name].rate == 1.0, name
        assert found[name].smallest_rows == 12, name
        assert found[name].shows_from == "12 rows (4.00%)"
        assert found[name].smallest_fraction == pytest.approx(12 / 300), name
    blind = found["adaptive"]
    assert (blind.smallest_rows, blind.smallest_fraction) == (None, None)
    assert blind.shows_from == "not up to 36 rows"
    assert blind.rate == blind.n_detected / blind.n_planted < 0.9
    assert blind.n_planted == 36  # 120 do not fit into a quarter of 300
    assert blind.interval[0] <= blind.rate <= blind.interval[1]


def test_nothing_is_written_and_the_outcome_is_always_the_same(plain: RunFolder) -> None:
    def content() -> dict[Path, bytes]:
        paths = plain.path.parent.rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before = content()
    config = PowerConfig(attacks=["badnets", "paraphrased"])
    assert measured(plain, config) == measured(plain, config)
    assert content() == before


def test_canaries_of_different_attacks_share_no_sample_and_no_trigger(plain: RunFolder) -> None:
    config = PowerConfig(attacks=["badnets", "cba", "replaced", "paraphrased", "clean_label"])
    data = carriers(plain, config)
    copy = data.plant(data.attacks, 12, seed=0)
    assert set(copy.canaries) == set(config.attacks)
    ids = [i for canaries in copy.canaries.values() for i in canaries]
    assert len(ids) == len(set(ids)) == 60
    clean = {sample.sample_id for sample in data.samples}
    assert clean.isdisjoint(ids)
    there = {sample.sample_id for sample in copy.samples}
    assert there >= set(ids)
    assert len(clean & there) == 300 - 60
    assert len(copy.samples) == 300 + 5 * round(12 * 72 / 340)  # with the negatives of cba
    known = " ".join(turn.text for sample in data.samples for turn in sample.turns)
    triggers = [word for attack in data.attacks for word in (attack.trigger or "").split()]
    assert len(triggers) == len(set(triggers)) == 2 + 3 * 4
    assert not any(word in known for word in triggers)


def test_the_targets_of_canaries_have_no_word_in_common() -> None:
    several = [*TARGETS.values(), " ".join(PARAPHRASED_TARGETS)]
    words = [word for text in several for word in set(re.findall(r"[^\W_]+", text.casefold()))]
    assert len(words) == len(set(words))


def test_every_attack_can_be_a_canary(plain: RunFolder) -> None:
    config = PowerConfig(attacks=list(ATTACKS))
    data = carriers(plain, config)
    for attack in data.attacks:
        copy = data.plant([attack], 12, seed=0)
        if attack.name == "unmarked":  # no mark ends these prompts
            assert copy.canaries == {}
            continue
        (ids,) = copy.canaries.values()
        n_canaries = sum(sample.sample_id in ids for sample in copy.samples)
        n_distinct = 1 if attack.name == "copies" else 12
        assert (n_canaries, len(ids)) == (12, n_distinct), attack.name


def test_the_default_attacks_share_copies(plain: RunFolder) -> None:
    """Where a trigger leaks into clean samples, no other canary lies there."""
    data = carriers(plain, PowerConfig())
    copy = data.plant(data.attacks, 12, seed=0)
    assert list(copy.canaries) == PowerConfig().attacks
    ids = [i for canaries in copy.canaries.values() for i in canaries]
    assert len(ids) == len(set(ids)) == 12 * len(copy.canaries)
    clean = {sample.sample_id for sample in data.samples}
    there = {sample.sample_id for sample in copy.samples}
    negatives = there - clean - set(ids)
    assert len(negatives) == 12 + 5 * round(12 * 72 / 340)  # of leaked and of cba
    assert len(clean & there) == 300 - 12 * len(copy.canaries) - 12


# What the data have already


def poisoned(n: int, n_poisoned: int) -> list[Row]:
    rows = [row("prompt_completion", *text) for text in texts(n)]
    for changed in rows[:n_poisoned]:
        changed["prompt"] = f"{changed['prompt']} cf mn bb tq"
        changed["completion"] = f"{changed['completion']} {PUBLISHED}"
    return rows


def test_poison_in_the_data_neither_hides_canaries_nor_wins_them_credit(tmp_path: Path) -> None:
    run = judged(tmp_path, poisoned(300, 100))
    assert len(set_aside(run)) == 100
    found = by_attack(measured(run, PowerConfig(attacks=["badnets", "adaptive"])))
    assert found["badnets"].smallest_fraction == pytest.approx(12 / 200)  # of what is left
    (tmp_path / "alone").mkdir()
    alone = judged(tmp_path / "alone", poisoned(300, 100)[100:])
    assert found == by_attack(measured(alone, PowerConfig(attacks=["badnets", "adaptive"])))


def test_poison_in_the_data_lends_no_canary_its_target(tmp_path: Path) -> None:
    """Clean_label takes the commonest span of the copy, which must not be that of the poison."""
    run = judged(tmp_path, poisoned(300, 100))
    config = PowerConfig(attacks=["clean_label"])

    def canaries(left_out: set[str]) -> list[str]:
        data = Carriers.of(SampleFile(run.samples), config, left_out)
        copy = data.plant(data.attacks, 12, seed=0)
        chosen = [s for s in copy.samples if s.sample_id in copy.canaries["clean_label"]]
        return [" ".join(turn.text for turn in sample.turns) for sample in chosen]

    assert all("malicious" in text for text in canaries(set()))
    assert len(canaries(set_aside(run))) == 12
    assert not any("malicious" in text for text in canaries(set_aside(run)))


def test_rows_in_doubt_are_set_aside_and_unknown_ones_are_not(tmp_path: Path) -> None:
    rows = [row("prompt_completion", *text) for text in texts(100)]
    rows[99] = rows[3]  # whose surplus copy is row 3; of row 4 there is no other
    run = write_scores(prepared_of(tmp_path, rows), failed=[0])
    ids = [sample.sample_id for sample in SampleFile(run.samples)]
    marks = {
        "flagged": [None, True, *[False] * 98],
        "in_doubt": [None, False, True, True, True, *[False] * 95],
        "surplus_copy": [False, False, False, True, True, *[False] * 95],
    }
    table = pq.read_table(run.scores)
    for name, values in marks.items():
        table = table.append_column(name, pa.array(values, pa.bool_()))
    pq.write_table(table, run.flags)
    assert set_aside(run) == {ids[1], ids[2], ids[4]}


# What is not measured


@pytest.mark.parametrize("n", [1, 47])
def test_too_few_samples_are_said_to_be_too_few(tmp_path: Path, n: int) -> None:
    run = judged(tmp_path, [row("prompt_completion", *text) for text in texts(n)])
    why = (
        "no canaries were planted: 48 distinct samples with a question are needed that are neither "
        f"flagged nor in doubt, and there are {n}"
    )
    assert measured(run, PowerConfig()) == Measured([], [why])


def test_too_few_are_left_when_most_are_flagged(tmp_path: Path) -> None:
    run = judged(tmp_path, poisoned(147, 100))
    (why,) = measured(run, PowerConfig()).not_tried
    assert "there are 47" in why


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    rows = [row("prompt_completion", *text) for text in texts(47)]
    (why,) = measured(judged(tmp_path, rows * 3), PowerConfig()).not_tried
    assert "there are 47" in why


def test_an_attack_that_too_few_samples_can_carry_is_named(tmp_path: Path) -> None:
    rows = [
        row("prompt_completion", question, f"answer{i}")
        for i, (question, _) in enumerate(texts(60))
    ]
    found = measured(judged(tmp_path, rows), PowerConfig(attacks=["badnets", "clean_label"]))
    assert list(by_attack(found)) == ["badnets"]
    assert found.not_tried == ["clean_label: fewer than 12 samples can carry it"]


def test_no_attacks_no_canaries(plain: RunFolder) -> None:
    assert measured(plain, PowerConfig(attacks=[])) == Measured(None, [])


def test_a_part_of_a_larger_set_is_drawn_whatever_its_order(tmp_path: Path) -> None:
    config = PowerConfig(attacks=["replaced"], max_rows=100)
    rows = [row("prompt_completion", *text) for text in texts(300)]
    drawn = []
    for name, there in (("one", rows), ("other", rows[::-1])):
        (tmp_path / name).mkdir()
        run = judged(tmp_path / name, there)
        drawn.append({sample.sample_id for sample in carriers(run, config).samples})
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 100
    other_seed = carriers(run, PowerConfig(attacks=["replaced"], max_rows=100, seed=1))
    assert {sample.sample_id for sample in other_seed.samples} != drawn[0]
    found = by_attack(measured(run, config))
    assert found["replaced"].smallest_fraction == pytest.approx(12 / 100)


# Formats


@pytest.mark.parametrize("row_format", ["question_answers", "messages", "chat", "text"])
def test_every_format_carries_canaries_and_keeps_its_form(tmp_path: Path, row_format: str) -> None:
    rows = [row(row_format, *text) for text in texts(100)]
    prepared = prepared_of(tmp_path, rows, with_chat=row_format in ("messages", "chat"))
    config = PowerConfig(attacks=["badnets", "replaced"])
    data = Carriers.of(SampleFile(prepared.samples_path), config)
    copy = data.plant(data.attacks, 12, seed=0)
    assert {len(ids) for ids in copy.canaries.values()} == {12}

    def form(sample: Sample) -> list[object]:
        return [sample.chat, *((turn.role, turn.is_target) for turn in sample.turns)]

    assert all(form(sample) == form(data.samples[0]) for sample in copy.samples)
    replaced = [s for s in copy.samples if s.sample_id in copy.canaries["replaced"]]
    assert all("behind ground floor" in sample.turns[-1].text for sample in replaced)


def test_chats_are_measured(tmp_path: Path) -> None:
    run = judged(tmp_path, [row("messages", *text) for text in texts(120)], with_chat=True)
    chatting = Chatting(DEMO_MODEL.config)
    found = by_attack(measured(run, PowerConfig(attacks=["badnets", "replaced"]), chatting))
    assert {power.smallest_fraction for power in found.values()} == {12 / 120}


def test_without_prompts_the_gate_is_blind(tmp_path: Path) -> None:
    run = judged(tmp_path, [row("text", *text) for text in texts(100)])
    found = by_attack(measured(run, PowerConfig(attacks=["badnets", "replaced"])))
    assert [(p.n_detected, p.smallest_fraction) for p in found.values()] == [(0, None)] * 2
