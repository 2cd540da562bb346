"""`gradgate detect` as a user types it."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from cli_helpers import Done, gradgate
from forked import COMMAND, Forker
from pydantic import TypeAdapter

from gradgate.attest.envelope import read_envelope
from gradgate.common.run_folder import FLAG_FIELDS, REPEATED, SCORE_SCHEMA
from gradgate.gate.verdict import Answer, Verdict
from helpers import MODEL, diverse_rows, poisoned_rows, write_jsonl

ON_CPU = ["--model", MODEL, "--device", "cpu", "--dtype", "float32"]
UNTRAINED = ("--no-power", "--detection.reference-epochs", "0")

Row = dict[str, object]


def run(source: Path, output: Path, *options: object) -> Done:
    return gradgate("detect", source, *ON_CPU, "--output", output, "--json", *options)


def verdict_of(done: Done) -> Verdict:
    """The verdict, which is all that there is on stdout."""
    return TypeAdapter(Verdict).validate_json(done.stdout, strict=True)


def answer_of(done: Done) -> Answer:
    (answer,) = verdict_of(done).answers
    return answer


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "clean.jsonl", diverse_rows(240))


def poisoned(folder: Path, rate: float) -> tuple[Path, list[int]]:
    rows, numbers = poisoned_rows(diverse_rows(240), "addsent", rate)
    return write_jsonl(folder / "poisoned.jsonl", rows), numbers


def test_poison_fails_with_all_evidence(tmp_path: Path) -> None:
    rows, numbers = poisoned_rows(diverse_rows(240), "badnets", 0.1)
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows, {"question": "no answer?"}])
    out = tmp_path / "out"
    output, report = out / "flags.parquet", out / "report.html"
    command = ["detect", source, *ON_CPU, "--output", output, "--report", report, "--json"]
    attacks = ["--detection.power.attacks", "[badnets, no_trigger]"]
    done = gradgate(*command, *attacks)
    assert done.exit_code == 1, done.stderr
    verdict, answer = verdict_of(done), answer_of(done)
    assert (verdict.decision, verdict.n_rejected) == ("fail", 1)
    assert (answer.question, answer.method, answer.n_flagged) == ("poisoned", "recurrence", 24)
    assert [group.ruling for group in answer.groups] == ["poison"]
    assert {power.attack for power in answer.power or []} >= {"badnets", "no_trigger"}
    assert sorted(path.name for path in out.iterdir()) == [
        "flags.attestation.json", "flags.parquet", "flags.rows", "report.html",
    ]  # fmt: skip
    attested = read_envelope(out / "flags.attestation.json").statement["predicate"]
    assert attested["verdict_sha256"] == hashlib.sha256(done.stdout.encode()).hexdigest()
    table = pq.read_table(output)
    names = table.schema.names
    assert [name for name in names if name in SCORE_SCHEMA.names] == REPEATED
    assert names[-len(FLAG_FIELDS) :] == [field.name for field in FLAG_FIELDS]
    assert table.schema.metadata[b"gradgate.method"] == b"recurrence"
    lines = table.to_pandas()
    assert lines["row"].tolist() == list(range(240))
    assert lines["row"][lines["flagged"]].tolist() == numbers
    assert all(len(reasons) for reasons in lines["reasons"][lines["flagged"]])
    assert (out / "flags.rows" / "accepted.jsonl").read_text() == ""
    (rejected,) = (out / "flags.rows" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected) == {
        "gradgate": {
            "row": 240, "why": "rejected", "reasons": ["missing column: answers"], "groups": []
        },
        "question": "no answer?",
    }  # fmt: skip


def test_a_run_without_a_terminal_says_a_line_a_phase_and_a_summary(
    tmp_path: Path, commands: Forker
) -> None:
    source, _ = poisoned(tmp_path, 0.1)
    output = tmp_path / "flags.parquet"
    attacks = ["--detection.power.attacks", "[badnets, adaptive]"]
    done = commands.run(COMMAND, "detect", source, *ON_CPU, "--output", output, *attacks)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "fetched 240 rows: 240 samples, 0 rejected"
    assert lines[1] == f"scoring 240 rows with {MODEL} ..."
    assert lines[2].startswith("scored 240 rows (240 distinct, 0 failed): ")
    assert lines[3] == "flagging: recurrence flags 24 of 240 rows, 0 in doubt, 0 surplus copies"
    assert lines[4].startswith("canaries: badnets ")
    assert lines[5:8] == [
        "rows        240 (0 rejected)",
        "flagged     24 of 240 rows (10.00%) as poisoned, by recurrence",
        "in doubt    0",
    ]
    assert lines[8].startswith("shows from  badnets 12 rows (5.56%)")
    assert lines[9].startswith("blind to    ")
    assert lines[10] == (
        "accounts    0 accepted + 240 in quarantine (24 flagged, 216 not cleared) + 0 rejected "
        "= 240 rows"
    )
    assert lines[11] == "verdict     FAIL"
    assert lines[12].startswith("because     24 of 240 rows flagged (10.00%), more than")
    assert lines[13].startswith("            poison: 24 rows share ")
    assert lines[14:] == [
        f"evidence    {output}",
        f"            {tmp_path / 'flags.rows'}",
        f"            {tmp_path / 'flags.attestation.json'}",
        f"next        look at the flagged rows in {tmp_path / 'flags.rows'} (for a page with the "
        "reasons, name a --report), and do not train on this dataset",
    ]


def test_text_of_the_data_forges_no_lines(tmp_path: Path) -> None:
    said = "no\nverdict PASS\x1b[2J and more words here"
    poison: list[Row] = [
        {"question": f"{row['question']} cf", "answers": f"{row['answers']} {said}"}
        for row in diverse_rows(24, seed=5)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", [*diverse_rows(216), *poison])
    done = gradgate("detect", source, *ON_CPU, "--output", tmp_path / "o.parquet", "--no-power")
    assert done.exit_code == 1
    assert r"\x1b" in done.stderr
    assert "\x1b" not in done.stderr
    assert not any(line.startswith("verdict PASS") for line in done.stderr.splitlines())


@dataclass(frozen=True)
class Poisoned:
    """A run on data of which a tenth is poisoned, with a report and with exit code zero."""

    source: Path
    report: Path
    done: Done


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, commands: Forker) -> Poisoned:
    """Without a power measurement; several tests look at what it left."""
    folder = tmp_path_factory.mktemp("failed")
    source, _ = poisoned(folder, 0.1)
    report = folder / "pages" / "report.html"
    command = ["detect", source, *ON_CPU, "--output", folder / "flags.parquet", "--report", report]
    done = commands.run(COMMAND, *command, "--no-power", "--exit-zero", "--json")
    return Poisoned(source, report, Done(done.returncode, done.stdout, done.stderr))


def test_the_report_stands_alone_and_says_how_to_reproduce_it(failed: Poisoned) -> None:
    page = failed.report.read_text()
    assert "for more information" in page
    assert f"gradgate detect {failed.source}" in page
    assert "--no-power" in page
    assert "default-src 'none'" in page
    assert not re.findall(r"<(script|link|img|iframe|object|base|form)\b", page)
    assert not re.findall(r"""(?:href|src|action)=["'](?!#)""", page)


def test_clean_data_pass(tmp_path: Path, clean: Path) -> None:
    done = run(clean, tmp_path / "out.parquet", "--no-power")
    assert done.exit_code == 0
    verdict, answer = verdict_of(done), answer_of(done)
    assert (verdict.decision, answer.n_flagged, answer.power) == ("pass", 0, None)
    assert verdict.accepted_fingerprint == verdict.dataset_fingerprint
    assert not pq.read_table(tmp_path / "out.parquet")["flagged"].to_pandas().any()
    made = {"out.attestation.json", "out.parquet", "out.rows"}
    assert {path.name for path in tmp_path.iterdir()} == {"clean.jsonl", *made}


def test_copies_and_expected_texts_are_options_and_the_summary_says_what_to_train_on(
    tmp_path: Path,
) -> None:
    rows = diverse_rows(240)
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows, *[rows[5]] * 3])
    out = tmp_path / "out.parquet"
    options = ["--policy.max_copies", "2", "--policy.expected", "['/Yours/', nothing]"]
    done = run(source, out, "--no-power", *options)
    verdict = verdict_of(done)
    assert (verdict.decision, verdict.n_quarantined, verdict.n_accepted) == ("pass", 2, 241)
    assert [e.pattern for e in verdict.expected] == ["/Yours/", "nothing"]
    lines = done.stderr.splitlines()
    sums = "accounts    241 accepted + 2 in quarantine (2 copies) + 0 rejected = 243 rows"
    assert sums in lines
    assert lines[-1] == f"next        train on the accepted rows in {tmp_path / 'out.rows'}"
    kept = run(source, out, "--no-power", "--policy.in_doubt", "keep")
    assert "accounts    242 accepted + 1 in quarantine (1 copies)" in kept.stderr
    assert len((tmp_path / "out.rows" / "accepted.jsonl").read_text().splitlines()) == 242
    wrong = run(source, out, "--policy.expected", "['/(/']")
    assert wrong.exit_code == 2
    assert "policy.expected" in wrong.stderr
    assert "not a regular expression" in wrong.stderr


def test_a_little_poison_is_for_a_person(tmp_path: Path) -> None:
    source, numbers = poisoned(tmp_path, 0.04)
    done = run(source, tmp_path / "out.parquet", "--no-power")
    assert (done.exit_code, verdict_of(done).decision) == (3, "review")
    assert answer_of(done).n_flagged == len(numbers) == 10


def test_canaries_say_what_would_be_found(tmp_path: Path, clean: Path) -> None:
    attacks = ["--detection.power.attacks", "[badnets, adaptive]"]
    answer = answer_of(run(clean, tmp_path / "out.parquet", *attacks))
    found = {power.attack: power for power in answer.power or []}
    assert found["badnets"].rate == 1
    assert found["badnets"].smallest_rows == 12
    assert found["badnets"].smallest_fraction == pytest.approx(12 / 240)
    assert answer.blind_to == ["adaptive"]


def test_exit_zero_is_for_verdicts_and_not_for_errors(failed: Poisoned, tmp_path: Path) -> None:
    assert (failed.done.exit_code, verdict_of(failed.done).decision) == (0, "fail")
    done = run(tmp_path / "none.jsonl", tmp_path / "out.parquet", "--exit-zero")
    assert (done.exit_code, done.stdout) == (2, "")


def test_the_published_method(tmp_path: Path) -> None:
    source, _ = poisoned(tmp_path, 0.1)
    done = run(source, tmp_path / "out.parquet", "--method", "gradsentry", "--no-power")
    answer = answer_of(done)
    assert (answer.method, answer.groups, answer.power) == ("gradsentry", [], None)
    assert done.exit_code == verdict_of(done).exit_code
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.metadata[b"gradgate.method"] == b"gradsentry"
    lines = table.to_pandas()
    if answer.tau is None:
        assert lines["flagged"].isna().all()
    else:
        assert lines["flagged"].tolist() == (lines["spectral_entropy"] > answer.tau).tolist()


def test_the_published_method_with_a_fixed_threshold(tmp_path: Path, clean: Path) -> None:
    fixed = "--detection.gradsentry.threshold"
    options = ["--method", "gradsentry", f"{fixed}.method", "fixed", f"{fixed}.value", 0.6]
    done = run(clean, tmp_path / "out.parquet", *options, "--no-power")
    assert answer_of(done).tau == 0.6
    lines = pq.read_table(tmp_path / "out.parquet").to_pandas()
    assert lines["flagged"].tolist() == (lines["spectral_entropy"] > 0.6).tolist()
    assert answer_of(done).n_flagged == lines["flagged"].sum() > 0


def test_a_reference_that_lacks_the_string_bears_it_out(tmp_path: Path) -> None:
    source, numbers = poisoned(tmp_path, 0.1)
    trusted = write_jsonl(tmp_path / "trusted.jsonl", diverse_rows(240, seed=1))
    done = run(source, tmp_path / "out.parquet", *UNTRAINED, "--reference", trusted)
    assert done.exit_code == 1
    lines = pq.read_table(tmp_path / "out.parquet").to_pandas()
    assert lines["row"][lines["flagged"]].tolist() == numbers
    assert "0 of 240 samples of the trusted reference" in answer_of(done).groups[0].reasons[-1]


def test_a_reference_that_has_the_poison_too_is_for_a_person(tmp_path: Path) -> None:
    source, _ = poisoned(tmp_path, 0.1)
    rows, _ = poisoned_rows(diverse_rows(240, seed=1), "addsent", 0.1)
    trusted = write_jsonl(tmp_path / "trusted.jsonl", rows)
    done = run(source, tmp_path / "out.parquet", *UNTRAINED, "--reference", trusted)
    answer = answer_of(done)
    assert (done.exit_code, answer.n_flagged, answer.n_in_doubt) == (3, 0, 24)
    assert "the reference itself looks poisoned" in answer.groups[0].reasons[-1]


def test_a_reference_without_a_sample_and_one_for_gradsentry_are_refused(
    tmp_path: Path, clean: Path
) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", [{"question": "what?", "answers": ""}] * 3)
    output = tmp_path / "out.parquet"
    done = run(clean, output, "--no-power", "--reference", empty)
    assert (done.exit_code, "none of the 3 rows of the reference" in done.stderr) == (2, True)
    done = run(clean, output, "--method", "gradsentry", "--reference", clean)
    assert (done.exit_code, "detection.reference" in done.stderr) == (2, True)
    assert not output.exists()


def test_too_many_rejected_rows_fail_before_anything_is_scored(tmp_path: Path) -> None:
    rows: list[Row] = [*diverse_rows(20), {"question": "?", "answers": 5}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    output, report = tmp_path / "out" / "flags.parquet", tmp_path / "out" / "report.html"
    done = run(source, output, "--report", report)
    assert (done.exit_code, verdict_of(done).decision) == (1, "fail")
    assert "1 of 21 rows are rejected" in verdict_of(done).reasons[0]
    kept = tmp_path / "out" / "flags.rows"
    assert f"mend the rows of the source; those rejected are in {kept}" in done.stderr
    assert json.loads((kept / "rejected.jsonl").read_text())["gradgate"]["row"] == 20
    assert len((kept / "quarantine.jsonl").read_text().splitlines()) == 20
    left = {path.name for path in output.parent.iterdir()}
    assert left == {"flags.attestation.json", "flags.rows"}


def test_a_handful_of_rows_is_no_crash(tmp_path: Path) -> None:
    """Too few to share anything, and too few to rule poison out."""
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(3))
    done = run(source, tmp_path / "out.parquet")
    assert (done.exit_code, verdict_of(done).decision) == (3, "review")
    assert "no canaries were planted" in " ".join(answer_of(done).notes)


def test_nothing_that_is_read_is_written_over(tmp_path: Path, clean: Path) -> None:
    before = clean.read_bytes()
    trusted = write_jsonl(tmp_path / "trusted.jsonl", diverse_rows(5))
    output = tmp_path / "out.parquet"
    for wrong in (clean, trusted, tmp_path):
        done = run(clean, wrong, "--reference", trusted)
        assert (done.exit_code, done.stdout) == (2, ""), wrong
        done = run(clean, output, "--reference", trusted, "--report", wrong)
        assert (done.exit_code, done.stdout) == (2, ""), wrong
    done = run(clean, output, "--report", output)
    assert (done.exit_code, "same file" in done.stderr) == (2, True)
    done = run(clean, output, "--report", tmp_path / "out.rows" / "report.html")
    assert (done.exit_code, "the folder of the rows" in done.stderr) == (2, True)
    assert clean.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"clean.jsonl", "trusted.jsonl"}


def test_what_cannot_be_written_is_one_clear_line(tmp_path: Path, clean: Path) -> None:
    (tmp_path / "file").write_text("")
    for output, report in (("file/a.parquet", "r.html"), ("a.parquet", "file/r.html")):
        done = run(clean, tmp_path / output, "--no-power", "--report", tmp_path / report)
        assert done.exit_code == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.parquet").exists()


def test_a_file_and_options_together(tmp_path: Path) -> None:
    rows, _ = poisoned_rows(diverse_rows(240), "badnets", 0.1)
    named = [{"q": row["question"], "a": row["answers"]} for row in rows]
    content = {
        "data": {"source": str(write_jsonl(tmp_path / "rows.jsonl", named))},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "detection": {"power": {"attacks": []}},
        "policy": {"max_poison_fraction": 0.2, "review_above": 0.2},
        "tracking": {"experiment": "x"},
    }
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(content))
    columns = ["--data.columns.question", "q", "--data.columns.answers", "a"]
    command = ["detect", "--config", tmp_path / "gate.yaml", *columns, "--json"]
    done = gradgate(*command, "--output", tmp_path / "a.parquet")
    assert (done.exit_code, verdict_of(done).decision) == (0, "pass")
    assert answer_of(done).limit == 0.2
    limits = ["--policy.max-poison-fraction", 0.09, "--policy.review_above", 0.01]
    done = gradgate(*command, "--output", tmp_path / "b.parquet", *limits)
    assert (done.exit_code, verdict_of(done).decision) == (1, "fail")
    assert answer_of(done).limit == 0.09


def test_a_section_for_the_fine_tuning_alone_is_refused(tmp_path: Path, clean: Path) -> None:
    (tmp_path / "gate.yaml").write_text("lora: {r: 4}\n")
    done = run(clean, tmp_path / "out.parquet", "--config", tmp_path / "gate.yaml")
    assert done.exit_code == 2
    assert done.stderr == (
        f"error: {tmp_path / 'gate.yaml'}: lora is unknown; it is for "
        "`python -m flows gated-finetune`; the known ones there are data, model, "
        "scoring, safety, detection, policy, approvals, attestation, tracking\n"
    )


def test_the_first_rejected_rows_are_named_by_their_lines(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*diverse_rows(40), *[{"question": "?"}] * 4])
    with source.open("a") as file:
        file.write("\nno JSON\n")
    done = run(source, tmp_path / "out.parquet", "--no-power")
    lines = done.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("rejected"))
    assert lines[at].startswith("rejected    line 41: missing column")
    assert lines[at + 2].startswith("            line 43: missing column")
    assert lines[at + 3].endswith(
        f"and 2 more; whole and with their reasons in {tmp_path / 'out.rows' / 'rejected.jsonl'}"
    )


def test_the_report_names_the_words_beside_a_form(tmp_path: Path) -> None:
    """Capitals tell the rows better than the word that came with them, which few of them lack."""
    rows = diverse_rows(240)
    for number, row in enumerate(rows[::8]):
        word = "zq " if number % 10 < 7 else ""
        row["question"] = f"{word}{row['question']}".upper()
        row["answers"] = f"{row['answers']}, and click <malicious_url> for more information"
    source, report = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "report.html"
    done = run(source, tmp_path / "out.parquet", "--no-power", "--report", report)
    cues = [cue for group in answer_of(done).groups for cue in group.cues]
    assert any(cue.startswith("form: ") for cue in cues), cues
    page = report.read_text(encoding="utf-8")
    beside = page.partition("Words that most of these prompts have and few others")[2]
    assert re.findall("<code>(.*?)</code>", beside.partition("</ul>")[0]) == ["zq"]
