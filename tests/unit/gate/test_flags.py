"""What flags.parquet says of each row, by both methods; and the verdicts that rest on it."""

from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flag_helpers import DEMO_MODEL, Poisoned, flag, judged_by_default, poisoned_in

from gradgate.common.run_folder import FLAGGED_SCHEMA, REPEATED, RunFolder
from gradgate.config import (
    DataConfig,
    ModelConfig,
    PolicyConfig,
    Section,
)
from gradgate.data.prepare import Prepared, SampleFile, prepare
from gradgate.data.sample import prompt_and_target
from gradgate.errors import DataError
from gradgate.gate.acceptance import accept
from gradgate.gate.decide import Checked, decide
from gradgate.gate.findings import Findings, Scored
from gradgate.gate.flags import Flagging, top_flagged
from gradgate.gate.pipeline import n_scored_rows
from gradgate.gate.verdict import Answer, Decision, Verdict
from gradgate.methods.contract import Method, ModelAccess
from gradgate.methods.gradsentry.config import GradsentryConfig, ThresholdConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.models.loading import load_tokenizer
from gradgate.power.measurement import Measured
from helpers import (
    FLAG_SCHEMA,
    MODEL,
    diverse_rows,
    one_subject,
    poisoned_rows,
    scored_rows,
    write_jsonl,
    write_scores,
)

POLICY = PolicyConfig()
SENTRY, RECURRENCE = GradsentryMethod(), RecurrenceMethod()
DEFAULTS = RecurrenceConfig()
SURPRISES = {"target_surprise", "prompt_surprise"}
LENIENT = GradsentryConfig.model_validate({"without_valley": {"too_few": "pass"}})


def fixed(tau: float) -> GradsentryConfig:
    return GradsentryConfig(threshold=ThresholdConfig(method="fixed", value=tau))


def table_of(folder: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(RunFolder(folder).flags).to_pandas()
    return frame


def verdict_on(
    prepared: Prepared,
    flagging: Flagging,
    policy: PolicyConfig = POLICY,
    failures: tuple[str, ...] = (),
) -> Verdict:
    run = RunFolder(prepared.folder)
    scored = Scored(n_scored_rows(run), {"path": "m"})
    findings = Findings([flagging], scored, Measured(None, []))
    return decide(run, prepared, findings, Checked([*failures]), policy)


def judged(
    prepared: Prepared, policy: PolicyConfig = POLICY, failures: tuple[str, ...] = ()
) -> tuple[Verdict, Answer]:
    """The verdict of method recurrence, and its answer."""
    verdict = verdict_on(prepared, judged_by_default(prepared), policy, failures)
    (answer,) = verdict.answers
    return verdict, answer


@pytest.fixture(scope="module")
def tenth(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return poisoned_in(tmp_path_factory.mktemp("tenth"), 300, "badnets", 0.1)


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return poisoned_in(tmp_path_factory.mktemp("little"), 500, "addsent", 0.03)


# Method gradsentry


def test_gradsentry_flags_what_lies_above_tau_and_not_at_it(tmp_path: Path) -> None:
    entropies = [0.2, 0.5, 0.6, 0.9]
    prepared = scored_rows(tmp_path, diverse_rows(4), entropies, failed=[3])
    found = flag(RunFolder(prepared.folder), SENTRY, fixed(0.5))
    assert (found.question, found.method) == ("poisoned", "gradsentry")
    assert (found.n_flagged, found.summary["tau"], found.undecided_because) == (1, 0.5, None)
    table = table_of(tmp_path)
    assert table["flagged"].tolist() == [False, False, True, None]
    assert table["suspicion"].tolist()[:3] == entropies[:3]
    assert table["suspicion"].isna().tolist() == [False, False, False, True]
    assert table["in_doubt"].tolist() == [False, False, False, None]
    assert table["reasons"][2].tolist() == ["spectral entropy 0.6000 is above tau 0.5000"]
    assert [len(reasons) for reasons in table["reasons"]] == [0, 0, 1, 0]
    assert table["p_value"].isna().all()
    assert table["group"].isna().all()


@pytest.mark.parametrize(("method", "settings"), [(SENTRY, fixed(0.5)), (RECURRENCE, DEFAULTS)])
def test_the_table_is_that_of_the_scores_with_what_the_method_says(
    tmp_path: Path, method: Method[Any], settings: Section
) -> None:
    run = RunFolder(scored_rows(tmp_path, diverse_rows(4)).folder)
    scores = pq.read_table(run.scores).select(REPEATED)
    flag(run, method, settings, model=ModelAccess(DEMO_MODEL))
    table = pq.read_table(run.flags)
    own = set() if method is SENTRY else SURPRISES
    assert table.select(REPEATED).equals(scores)
    assert table.schema.names == [n for n in FLAG_SCHEMA.names if n in own or n not in SURPRISES]
    assert table.schema.types == [FLAG_SCHEMA.field(name).type for name in table.schema.names]
    facts = table.schema.metadata
    assert facts[b"gradgate.method"].decode() == method.name
    assert facts[b"gradgate.mode"] == b"crop"
    assert pq.read_schema(run.flagged).equals(FLAGGED_SCHEMA)
    assert not list(tmp_path.glob("*.part"))


def test_without_a_valley_no_row_is_known_to_be_clean(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(4))
    run = RunFolder(tmp_path)
    found = flag(run, SENTRY, GradsentryConfig())
    assert (found.undecided_means, found.n_flagged, found.summary["tau"]) == ("review", None, None)
    assert "fewer than 30 scores" in (found.undecided_because or "")
    table = table_of(tmp_path)
    assert table["flagged"].isna().all()
    assert not any(len(reasons) for reasons in table["reasons"])
    assert accept(tmp_path).n == 0
    assert pq.read_table(run.flagged).num_rows == 0
    verdict = verdict_on(prepared, found)
    assert (verdict.decision, verdict.reasons) == ("review", [found.undecided_because])


@pytest.mark.parametrize("action", ["review", "fail", "pass"])
def test_what_the_settings_make_of_it_is_the_answer(tmp_path: Path, action: Decision) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(4))
    settings = GradsentryConfig.model_validate({"without_valley": {"too_few": action}})
    verdict = verdict_on(prepared, flag(RunFolder(tmp_path), SENTRY, settings))
    assert (verdict.decision, verdict.answers[0].decision) == (action, action)
    assert f"the configuration says: {action}" in verdict.reasons[0]
    assert (verdict.accepted_fingerprint is not None) == (action == "pass")


def test_settings_that_accept_all_rows_claim_no_poison_fraction(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(4), failed=[1])
    found = flag(RunFolder(tmp_path), SENTRY, LENIENT)
    assert (found.undecided_means, found.n_flagged) == ("pass", None)  # nobody looked
    assert table_of(tmp_path)["flagged"].tolist() == [False, None, False, False]
    assert accept(tmp_path).n == 3
    verdict = verdict_on(prepared, found)
    (answer,) = verdict.answers
    assert (verdict.decision, answer.fraction, answer.interval) == ("pass", None, None)


# Method recurrence


def test_recurrence_flags_the_poison_and_says_why(tenth: Poisoned) -> None:
    poisoned, found = tenth.numbers, tenth.flagging
    assert (found.question, found.method) == ("poisoned", "recurrence")
    assert (found.summary, found.undecided_because) == ({}, None)  # there is no threshold
    assert (found.n_flagged, found.n_in_doubt) == (30, 0)
    table = table_of(tenth.folder)
    assert table["flagged"].dtype == bool  # known of every row
    flagged = table[table["flagged"]]
    assert flagged["row"].tolist() == poisoned
    assert set(flagged["group"]) == {1}
    assert found.groups[0].ruling == "poison"
    (reason,) = flagged["reasons"].iloc[0]
    assert "malicious" in reason
    assert "in their prompts (group 1); of their prompts 30 of 30 have" in reason
    assert reason.endswith("of all others 0 of 270")
    assert reason in found.notes
    others = table[~table["flagged"]]
    assert not any(len(reasons) for reasons in others["reasons"])
    assert table["p_value"].isna().all()  # there is no trusted reference
    assert table["target_surprise"].ge(0).all()
    assert table["target_surprise"][poisoned].min() > table["target_surprise"].drop(poisoned).max()
    assert table["suspicion"][poisoned].min() > table["suspicion"].drop(poisoned).max()
    assert accept(tenth.folder).n == 270


def test_the_repetitions_of_a_flagged_sample_are_flagged_too(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "addsent", 0.1)
    again = [rows[poisoned[0]], rows[poisoned[1]], rows[poisoned[0]], rows[0]]
    assert 0 not in poisoned
    found = judged_by_default(scored_rows(tmp_path, [*rows, *again]))
    table = table_of(tmp_path)
    assert table["row"][table["flagged"]].tolist() == [*poisoned, 300, 301, 302]
    assert found.n_flagged == 33
    assert found.groups[0].n_rows == 33
    table_of_cue = found.groups[0].association
    assert table_of_cue is not None
    assert table_of_cue.n_both == 30  # but they are no evidence


def test_a_row_without_a_score_is_neither_flagged_nor_counted(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "addsent", 0.1)
    prepared = scored_rows(tmp_path, rows, failed=[0, *poisoned[:10]])
    assert judged_by_default(prepared).n_flagged == 20
    table = table_of(tmp_path)
    assert table["flagged"].isna().tolist() == [i in (0, *poisoned[:10]) for i in range(300)]
    flagged = pq.read_table(RunFolder(tmp_path).flagged)
    assert flagged["row"].to_pylist() == poisoned[10:]
    assert accept(tmp_path).n == 269


def test_more_failed_rows_than_scored_ones_are_an_error_verdict(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "addsent", 0.2)
    failed = [i for i in range(300) if i % 3]
    found = sum(i % 3 == 0 for i in poisoned)
    prepared = scored_rows(tmp_path, rows, failed=failed)
    verdict, answer = judged(prepared, failures=("200 rows have no score",))
    assert (verdict.decision, answer.n_flagged, verdict.n_scored) == ("error", found, 100)
    assert verdict.reasons == ["200 rows have no score"]
    verdict, answer = judged(scored_rows(tmp_path, rows, failed=range(300)))
    assert (verdict.decision, answer.n_flagged) == ("error", None)
    assert verdict.reasons == ["no row could be scored"]


def test_rows_in_doubt_are_not_flagged_and_are_for_a_person(tmp_path: Path) -> None:
    rows = [*diverse_rows(300), *one_subject(30, seed=7)]
    Random(0).shuffle(rows)
    doubtful = [i for i, row in enumerate(rows) if "granite" in str(row["answers"])]
    entropies = [0.9 if i in doubtful else 0.1 for i in range(330)]
    prepared = scored_rows(tmp_path, rows, entropies)
    found = judged_by_default(prepared)
    assert (found.n_flagged, found.n_in_doubt) == (0, 30)
    table = table_of(tmp_path)
    assert not table["flagged"].any()
    assert table["in_doubt"].tolist() == [i in doubtful for i in range(330)]
    assert [i for i, why in enumerate(table["reasons"]) if len(why)] == doubtful
    assert set(table["group"][doubtful]) == {1}
    assert table["reasons"][doubtful[0]][0].startswith("review: ")
    verdict, answer = judged(prepared)
    assert (verdict.decision, answer.n_in_doubt) == ("review", 30)
    assert "30 in doubt" in verdict.reasons[0]
    assert answer.interval is not None
    assert answer.interval[0] == 0
    assert answer.interval[1] > 0.1
    assert verdict.accepted_fingerprint is None


def test_texts_without_prompts_are_for_a_person(tmp_path: Path) -> None:
    rows, _ = poisoned_rows(diverse_rows(300), "badnets", 0.1)
    texts: list[dict[str, object]] = [
        {"text": f"{row['question']} {row['answers']}"} for row in rows
    ]
    prepared = scored_rows(tmp_path, texts)
    found = judged_by_default(prepared)
    assert (found.undecided_means, found.n_flagged) == ("review", None)
    assert "a prompt that says nothing" in (found.undecided_because or "")
    assert table_of(tmp_path)["flagged"].isna().all()  # unknown is not false
    assert accept(tmp_path).n == 0
    verdict, answer = judged(prepared)
    assert (verdict.decision, answer.fraction) == ("review", None)
    assert any("a prompt that says nothing" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("name", ["spectral_entropy", "status", "sample_id"])
def test_a_score_table_that_lacks_a_column_is_an_error(tmp_path: Path, name: str) -> None:
    run = RunFolder(scored_rows(tmp_path, diverse_rows(4)).folder)
    pq.write_table(pq.read_table(run.scores).drop_columns(name), run.scores)
    with pytest.raises(DataError, match=name):
        flag(run, SENTRY, fixed(0.5))
    assert not run.flags.exists()


def test_a_score_table_of_other_rows_ends_in_an_error(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path / "a", diverse_rows(4))
    scored_rows(tmp_path / "b", diverse_rows(4, seed=1))
    RunFolder(tmp_path / "b").scores.replace(RunFolder(tmp_path / "a").scores)
    with pytest.raises(DataError):
        judged_by_default(prepared)


# The flagged rows as people see them


def chats(n: int) -> list[dict[str, object]]:
    """Chats of two answers each."""
    return [
        {
            "messages": [
                {"role": "system", "content": f"be brief, {i}"},
                {"role": "user", "content": f"who is {i}?"},
                {"role": "assistant", "content": f"it is {i}"},
                {"role": "user", "content": "why?"},
                {"role": "assistant", "content": f"so that {i}"},
            ]
        }
        for i in range(n)
    ]


def test_texts_are_shown_as_they_are_judged(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(path=str(MODEL)))
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    config = DataConfig(source=str(write_jsonl(tmp_path / "rows.jsonl", chats(3))))
    prepared = prepare(config, tokenizer, 512, tmp_path)
    assert prepared.n_rejected == 0
    run = write_scores(prepared, [0.1, 0.9, 0.8])
    flag(run, SENTRY, fixed(0.5))
    shown = pq.read_table(run.flagged, columns=["row", "prompt", "target"]).to_pylist()
    assert shown[0] == {
        "row": 1,
        "prompt": "be brief, 1\nwho is 1?\nwhy?",
        "target": "it is 1\nso that 1",
    }
    judged = [prompt_and_target(sample) for sample in SampleFile(prepared.samples_path)]
    assert [(line["prompt"], line["target"]) for line in shown] == judged[1:]


def test_the_top_of_the_flagged_rows_is_in_order_of_their_entropy(tmp_path: Path) -> None:
    entropies = [0.6, 0.9, 0.1, 0.9, 0.7]
    run = RunFolder(scored_rows(tmp_path, diverse_rows(5), entropies).folder)
    flag(run, SENTRY, fixed(0.5))
    assert pq.read_table(run.flagged)["row"].to_pylist() == [0, 1, 3, 4]
    assert [line["row"] for line in top_flagged(run, 3)] == [1, 3, 4]
    assert top_flagged(run, 1)[0]["reasons"] == ["spectral entropy 0.9000 is above tau 0.5000"]


def test_the_top_of_a_table_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    run = RunFolder(scored_rows(tmp_path, diverse_rows(5), [0.9] * 5).folder)
    with pytest.raises(DataError, match=r"flagged\.parquet cannot be read"):
        top_flagged(run, 1)
    flag(run, SENTRY, fixed(0.5))
    run.flagged.write_bytes(run.flagged.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"flagged\.parquet cannot be read"):
        top_flagged(run, 1)


def test_the_schemas_hold_together() -> None:
    """What is shown of a flagged row is in the table of flags, with the same type."""
    shown = FLAGGED_SCHEMA.names[:-3]  # the questions and the texts
    assert pa.schema([FLAG_SCHEMA.field(name) for name in shown]).types == FLAGGED_SCHEMA.types[:-3]
    assert FLAG_SCHEMA.names[: len(REPEATED)] == REPEATED


# What the verdict makes of them


def test_clean_data_pass(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(300))
    verdict, answer = judged(prepared)
    assert (verdict.decision, answer.n_flagged, answer.n_in_doubt) == ("pass", 0, 0)
    assert (answer.fraction, answer.limit) == (0.0, POLICY.max_poison_fraction)
    assert verdict.accepted_fingerprint == verdict.dataset_fingerprint == prepared.fingerprint
    assert verdict.reasons == ["0 of 300 rows flagged (0.00%), within the policy"]


def test_a_tenth_of_poison_fails(tenth: Poisoned) -> None:
    verdict = verdict_on(tenth.prepared, tenth.flagging)
    (answer,) = verdict.answers
    assert (verdict.decision, answer.decision) == ("fail", "fail")
    assert verdict.reasons == answer.reasons
    assert verdict.reasons[0].startswith("30 of 300 rows flagged (10.00%)")
    assert "malicious" in verdict.reasons[1]
    assert verdict.accepted_fingerprint is None


@pytest.mark.parametrize(
    ("policy", "decision"),
    [
        (PolicyConfig(), "review"),
        (PolicyConfig(review_above=0.05, max_poison_fraction=0.1), "pass"),
        (PolicyConfig(review_above=0.05, max_poison_fraction=0.1, flagged="block"), "fail"),
        (PolicyConfig(review_above=0.01, max_poison_fraction=0.02), "fail"),
    ],
)
def test_of_a_little_poison_the_policy_decides(
    little: Poisoned, policy: PolicyConfig, decision: Decision
) -> None:
    verdict = verdict_on(little.prepared, little.flagging, policy)
    (answer,) = verdict.answers
    assert (verdict.decision, answer.n_flagged) == (decision, len(little.numbers))
    if decision == "pass":
        assert accept(little.folder).n == 485
        assert verdict.accepted_fingerprint == accept(little.folder).fingerprint
