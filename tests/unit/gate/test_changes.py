"""What changed between two runs, against a slow comparison; and which runs are compared."""

import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gate_helpers import gate_of
from report_helpers import about

from gradgate.common import scratch
from gradgate.common.run_folder import CHANGE_SCHEMA, RunFolder
from gradgate.errors import DataError
from gradgate.gate.changes import changes_since_last, compare, tau_of
from gradgate.gate.series import last_run, remember, series_of
from gradgate.gate.verdict import Answer, Changes, Verdict
from gradgate.report.facts import describe_changes
from gradgate.report.markdown import verdict_markdown
from helpers import FLAG_SCHEMA

Table = list[tuple[str, float | None]]  # one line a row: which sample, and its entropy
SCORED_WITH = {
    "method": "gradsentry",
    "mode": "crop",
    "k": "16",
    "model_sha256": "aa",
    "dtype": "float32",
}


def sample(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def is_flagged(entropy: float | None, tau: float | None) -> bool | None:
    """As gradsentry does, and unknown where a row has no score or a run no threshold."""
    return None if tau is None or entropy is None or not entropy < math.inf else entropy > tau


def write_flags(folder: Path, table: Table, tau: float | None, **scored_with: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "row": row,
            "sample_id": sample(name),
            "spectral_entropy": entropy,
            "n_target_tokens": 3,
            "status": "scored" if entropy is not None and math.isfinite(entropy) else "failed",
            "flagged": is_flagged(entropy, tau),
        }
        for row, (name, entropy) in enumerate(table)
    ]
    facts = {f"gradgate.{key}": value for key, value in {**SCORED_WITH, **scored_with}.items()}
    schema = FLAG_SCHEMA.with_metadata(facts)
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), RunFolder(folder).flags)
    return folder


def lines_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of changes.parquet by the sample."""
    lines = pq.read_table(RunFolder(folder).changes).to_pylist()
    found = {line.pop("sample_id"): line for line in lines}
    assert len(found) == len(lines)  # each sample once
    return found


def written(folder: Path) -> dict[str, tuple[str, float | None, float | None]]:
    """Kind of change, entropy and entropy before, by the sample."""
    return {
        name: (line["change"], line["spectral_entropy"], line["spectral_entropy_before"])
        for name, line in lines_of(folder).items()
    }


def by_gradsentry(tau: float | None, changes: Changes | None = None) -> Verdict:
    answer = Answer("poisoned", "gradsentry", "pass", ["fine"], summary={"tau": tau})
    return Verdict("pass", ["fine"], answers=[answer], changes=changes)


def counts(changes: Changes) -> tuple[int | None, ...]:
    return changes.n_new, changes.n_gone, changes.n_flagged_since, changes.n_cleared_since


def test_new_gone_flagged_and_cleared(tmp_path: Path) -> None:
    then: Table = [("x", 0.1), ("gone", 0.9), ("up", 0.2), ("down", 0.8)]
    here: Table = [("new", 0.9), ("x", 0.3), ("up", 0.7), ("down", 0.4)]
    before, now = write_flags(tmp_path / "a", then, 0.5), write_flags(tmp_path / "b", here, 0.5)
    changes = compare(before, 0.5, now, 0.5)
    assert counts(changes) == (1, 1, 1, 1)
    assert (changes.since, changes.tau_before, changes.changed_settings) == ("a", 0.5, [])
    assert written(now) == {
        sample("new"): ("new", 0.9, None),
        sample("gone"): ("gone", None, 0.9),
        sample("up"): ("flagged", 0.7, 0.2),
        sample("down"): ("cleared", 0.4, 0.8),
    }
    assert [path.name for path in before.iterdir()] == ["flags.parquet"]
    assert pq.read_schema(RunFolder(now).changes).equals(CHANGE_SCHEMA)


def doubt(folder: Path, in_doubt: list[bool], surplus: list[bool]) -> Path:
    """Put rows of a table of flags in doubt."""
    path = RunFolder(folder).flags
    table = pq.read_table(path)
    for name, values in {"in_doubt": in_doubt, "surplus_copy": surplus}.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), [values])
    pq.write_table(table, path)
    return folder


def test_rows_in_doubt_count_as_flagged_and_surplus_copies_do_not(tmp_path: Path) -> None:
    then: Table = [("up", 0.1), ("down", 0.1), ("twice", 0.1)]
    here: Table = [("up", 0.1), ("down", 0.1), ("twice", 0.1), ("twice", 0.1)]
    before = doubt(write_flags(tmp_path / "a", then, 0.5), [False, True, False], [False] * 3)
    now = write_flags(tmp_path / "b", here, 0.5)
    now = doubt(now, [True, False, False, True], [False, False, False, True])
    assert counts(compare(before, 0.5, now, 0.5)) == (0, 0, 1, 1)
    found = {name: line["change"] for name, line in lines_of(now).items()}
    assert found == {sample("up"): "flagged", sample("down"): "cleared"}


def test_every_change_names_its_row_and_whether_it_is_flagged(tmp_path: Path) -> None:
    then: Table = [("x", 0.1), ("gone", 0.9), ("left", 0.1), ("up", 0.2), ("down", 0.8)]
    here: Table = [("clean", 0.2), ("bad", 0.9), ("x", 0.3), ("up", 0.7), ("down", 0.4)]
    before, now = write_flags(tmp_path / "a", then, 0.5), write_flags(tmp_path / "b", here, 0.5)
    changes = compare(before, 0.5, now, 0.5)
    assert (changes.n_new, changes.n_new_flagged, changes.n_gone) == (2, 1, 2)
    found = {name: (line["row"], line["flagged"]) for name, line in lines_of(now).items()}
    assert found == {
        sample("clean"): (0, False),
        sample("bad"): (1, True),
        sample("gone"): (1, True),  # row and flag of the run that had it
        sample("left"): (2, False),
        sample("up"): (3, True),
        sample("down"): (4, False),
    }


def test_a_repeated_sample_is_one_and_its_first_row_is_named(tmp_path: Path) -> None:
    before = write_flags(tmp_path / "a", [("x", 0.1), ("gone", 0.1), ("gone", 0.1)], 0.5)
    here: Table = [("x", 0.1), ("bad", 0.9), ("x", 0.1), ("bad", 0.9)]
    now = write_flags(tmp_path / "b", here, 0.5)
    changes = compare(before, 0.5, now, 0.5)
    assert (changes.n_new, changes.n_new_flagged, changes.n_gone) == (1, 1, 1)
    found = {name: line["row"] for name, line in lines_of(now).items()}
    assert found == {sample("bad"): 1, sample("gone"): 1}


def test_new_rows_that_are_all_flagged_are_said_to_be(tmp_path: Path) -> None:
    old: Table = [(f"old {i}", 0.1) for i in range(40)]
    new: Table = [(f"new {i}", 0.9) for i in range(60)]
    before, now = write_flags(tmp_path / "a", old, 0.5), write_flags(tmp_path / "b", old + new, 0.5)
    changes = compare(before, 0.5, now, 0.5)
    assert (changes.n_new, changes.n_new_flagged, changes.n_flagged_since) == (60, 60, 0)
    assert describe_changes(changes, 0.5) == (
        "since run a: 60 new, 60 of them flagged or in doubt; 0 gone; "
        "of the others 0 newly so, 0 cleared"
    )
    found = lines_of(now)
    assert [found[sample(f"new {i}")]["row"] for i in range(60)] == list(range(40, 100))
    assert all(line["flagged"] for line in found.values())


@pytest.mark.parametrize("cache", [64, 32 * 1024], ids=["on disk", "in the cache"])
def test_equal_to_a_comparison_of_sets(
    cache: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_CACHE_KIB", cache)
    rng = random.Random(cache)
    entropy = {name: rng.choice([None, *(rng.random() for _ in range(9))]) for name in range(9000)}
    again = {**entropy, **{name: rng.random() for name in range(0, 9000, 7)}}
    chosen = [[rng.randrange(9000) for _ in range(9000)] for _ in range(2)]  # many repeat
    before = write_flags(tmp_path / "a", [(str(n), entropy[n]) for n in chosen[0]], 0.6)
    now = write_flags(tmp_path / "b", [(str(n), again[n]) for n in chosen[1]], 0.4)
    expected: dict[str, tuple[str, float | None, float | None]] = {}
    places: dict[str, tuple[int, bool]] = {}
    for name in {*chosen[0], *chosen[1]}:
        was, is_now = name in chosen[0], name in chosen[1]
        old, new = entropy[name] if was else None, again[name] if is_now else None
        flags = [value is None or value > tau for value, tau in ((old, 0.6), (new, 0.4))]
        if was != is_now:
            expected[sample(name)] = ("gone" if was else "new", new, old)
        elif flags[0] != flags[1]:
            expected[sample(name)] = ("flagged" if flags[1] else "cleared", new, old)
        places[sample(name)] = (chosen[is_now].index(name), flags[is_now])
    changes = compare(before, 0.6, now, 0.4)
    assert written(now) == expected
    found = {name: (line["row"], line["flagged"]) for name, line in lines_of(now).items()}
    assert found == {name: places[name] for name in expected}
    kinds = [change for change, _, _ in expected.values()]
    assert counts(changes) == tuple(
        kinds.count(kind) for kind in ("new", "gone", "flagged", "cleared")
    )
    new_flagged = [kind == "new" and places[name][1] for name, (kind, _, _) in expected.items()]
    assert changes.n_new_flagged == sum(new_flagged)
    assert min(n for n in counts(changes) if n is not None) > 50


def test_the_flags_decide_and_not_the_thresholds(tmp_path: Path) -> None:
    """Method recurrence has no threshold, and the entropy of what it flags may be any."""
    table: Table = [("x", 0.1), ("y", 0.2)]
    before, now = (write_flags(tmp_path / name, table, 0.5, method="recurrence") for name in "ab")
    flags = pq.read_table(RunFolder(now).flags)
    place = flags.schema.get_field_index("flagged")
    pq.write_table(flags.set_column(place, "flagged", [[False, True]]), RunFolder(now).flags)
    assert counts(compare(before, None, now, None)) == (0, 0, 1, 0)
    assert written(now) == {sample("y"): ("flagged", 0.2, 0.2)}


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_sample_without_a_score_counts_as_flagged(missing: float | None, tmp_path: Path) -> None:
    before = write_flags(tmp_path / "a", [("x", 0.1), ("y", missing), ("z", missing)], 0.5)
    now = write_flags(tmp_path / "b", [("x", missing), ("y", 0.1), ("z", missing)], 0.5)
    assert counts(compare(before, 0.5, now, 0.5)) == (0, 0, 1, 1)
    assert written(now) == {
        sample("x"): ("flagged", None, 0.1),
        sample("y"): ("cleared", 0.1, None),
    }


@pytest.mark.parametrize(("then", "now"), [(None, 0.5), (0.5, None), (None, None)])
def test_where_a_run_could_not_flag_nothing_is_known_of_flags(
    then: float | None, now: float | None, tmp_path: Path
) -> None:
    before = write_flags(tmp_path / "a", [("x", 0.9), ("gone", 0.1), ("failed", 0.1)], then)
    after = write_flags(tmp_path / "b", [("x", 0.1), ("new", 0.9), ("failed", None)], now)
    changes = compare(before, then, after, now)
    assert counts(changes) == (1, 1, None, None)
    assert changes.n_new_flagged is None
    assert {line["flagged"] for line in lines_of(after).values()} == {None}
    assert {change for change, _, _ in written(after).values()} == {"new", "gone"}
    assert "1 new; 1 gone; flags not compared" in describe_changes(changes, now)


def test_what_scored_differently_is_named(tmp_path: Path) -> None:
    before = write_flags(tmp_path / "a", [("x", 0.1)], 0.5)
    other = {"k": "8", "model_sha256": "bb", "model_adapter_sha256": "cc", "method": "recurrence"}
    now = write_flags(tmp_path / "b", [("x", 0.1)], 0.5, **other)
    changes = compare(before, 0.5, now, 0.5)
    assert changes.changed_settings == ["model", "adapter", "method", "k"]
    assert describe_changes(changes, 0.5) == (
        "since run a: 0 new, 0 of them flagged or in doubt; 0 gone; of the others 0 newly so, "
        "0 cleared (other model, other adapter, other method, other k)"
    )


# The series and its last run


def gate_run(state: Path, name: str, table: Table, tau: float | None = 0.5) -> Path:
    folder = write_flags(state / "runs" / name, table, tau)
    RunFolder(folder).verdict.write_text(by_gradsentry(tau).to_json())
    return folder


def test_a_run_is_compared_with_the_one_that_was_remembered_last(tmp_path: Path) -> None:
    series = series_of(gate_of())
    first = gate_run(tmp_path, "one", [("x", 0.1)])
    assert changes_since_last(series, tmp_path, first, 0.5) == Changes()
    assert not RunFolder(first).changes.exists()
    remember(series, tmp_path, first, "pass")
    second = gate_run(tmp_path, "two", [("x", 0.1), ("y", 0.1)])
    changes = changes_since_last(series, tmp_path, second, 0.5)
    assert (changes.since, counts(changes)) == ("one", (1, 0, 0, 0))
    assert (changes.n_new_flagged, changes.tau_before) == (0, 0.5)
    remember(series, tmp_path, second, "review")
    assert last_run(series, tmp_path) == "two"
    remember(series, tmp_path, gate_run(tmp_path, "broken", [("x", 0.1)]), "error")
    (tmp_path / "runs" / "unscored").mkdir()
    remember(series, tmp_path, tmp_path / "runs" / "unscored", "fail")
    assert last_run(series, tmp_path) == "two"
    assert len(list((tmp_path / "series").iterdir())) == 1


def test_a_gate_with_a_name_is_one_series_whatever_the_file_is_called(tmp_path: Path) -> None:
    named = {"tracking__gate": "nightly"}
    series = series_of(gate_of("rows-2026-11-25.jsonl", **named))
    assert series == series_of(gate_of("rows-2026-11-26.jsonl", model__path="org/other", **named))
    remember(series, tmp_path, gate_run(tmp_path, "one", [("x", 0.1)]), "pass")
    now = gate_run(tmp_path, "two", [("x", 0.1), ("y", 0.1)])
    assert changes_since_last(series, tmp_path, now, 0.5).since == "one"
    for other in (
        gate_of(tracking__gate="weekly"), gate_of(),
        gate_of(tracking__gate="nightly", tracking__experiment="e"),
    ):  # fmt: skip
        assert changes_since_last(series_of(other), tmp_path, now, 0.5).since is None


def test_signed_urls_are_one_series_and_their_secrets_are_not_kept(tmp_path: Path) -> None:
    monday = series_of(gate_of("https://me:secret@host/d.csv?sig=secret1"))
    assert monday == series_of(gate_of("https://me:secret@host/d.csv?sig=secret2"))
    remember(monday, tmp_path, gate_run(tmp_path, "one", []), "pass")
    content = monday.pointer(tmp_path).read_text()
    assert "secret" not in content
    assert json.loads(content)["run"] == "one"


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    series = series_of(gate_of())
    now = gate_run(tmp_path, "now", [("x", 0.1)])

    def problem() -> str:
        changes = changes_since_last(series, tmp_path, now, 0.5)
        assert counts(changes) == (None,) * 4
        assert {path.name for path in now.iterdir()} == {"flags.parquet", "verdict.json"}
        assert "not compared" in describe_changes(changes, 0.5)
        return f"{changes.since}: {changes.not_compared}"

    earlier = gate_run(tmp_path, "one", [("x", 0.1)] * 5000)
    remember(series, tmp_path, earlier, "pass")
    ids = pq.read_metadata(earlier / "flags.parquet").row_group(0).column(1).dictionary_page_offset
    whole = (earlier / "flags.parquet").read_bytes()
    (earlier / "flags.parquet").write_bytes(whole[:-9])
    assert problem().startswith("one: ")
    (earlier / "flags.parquet").write_bytes(whole[:ids] + bytes(50) + whole[ids + 50 :])
    assert problem().startswith("one: ")
    pq.write_table(pa.table({"sample_id": ["no id"]}), earlier / "flags.parquet")
    assert problem().startswith("one: ")
    (earlier / "flags.parquet").write_bytes(whole)
    (earlier / "verdict.json").write_text("{}")
    assert "verdict.json is not a verdict" in problem()
    earlier.rename(tmp_path / "moved")
    assert problem() == f"one: there is no folder {earlier}"
    for content in ("", "[]", "{}", '{"run": 5}', '{"run": "../one"}', '{"run": ""}'):
        series.pointer(tmp_path).write_text(content)
        assert "does not name a run" in problem()
    series.pointer(tmp_path).write_text(json.dumps({"run": "x" * 300}))
    assert "File name too long" in problem()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "EOF while parsing"),
        ('{"tau": 0.5}', "decision: Field required; reasons: Field required; tau: Unexpected"),
        (by_gradsentry(0.5).to_json().replace("0.5", "NaN"), "a number in it is not finite"),
        (by_gradsentry(0.5).to_json().replace("0.5", "1e999"), "a number in it is not finite"),
    ],
)
def test_a_damaged_verdict_of_the_last_run_is_said_in_a_line_and_this_one_is_written(
    tmp_path: Path, content: str, why: str
) -> None:
    series, now = series_of(gate_of()), gate_run(tmp_path, "now", [("x", 0.1)])
    earlier = gate_run(tmp_path, "one", [("x", 0.1)])
    remember(series, tmp_path, earlier, "pass")
    RunFolder(earlier).verdict.write_text(content)
    changes = changes_since_last(series, tmp_path, now, 0.5)
    assert changes.not_compared is not None
    assert f"{RunFolder(earlier).verdict} is not a verdict: " in changes.not_compared
    assert why in changes.not_compared
    assert "\n" not in changes.not_compared
    assert by_gradsentry(0.5, changes).to_json()


def test_a_comparison_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    before = write_flags(tmp_path / "a", [("x", 0.1)], 0.5)
    now = write_flags(tmp_path / "b", [("x", 0.1)], 0.5)
    in_the_way = RunFolder(now).changes
    in_the_way.mkdir()
    (in_the_way / "a file").touch()
    with pytest.raises(DataError, match=in_the_way.name):
        compare(before, 0.5, now, 0.5)
    assert {path.name for path in now.iterdir()} == {"flags.parquet", in_the_way.name}


# In words


def test_the_verdict_page_says_what_changed() -> None:
    changes = Changes("run_1", None, 1200, 60, 3, 1, 0, tau_before=0.5)
    page = verdict_markdown(by_gradsentry(0.6, changes), "data", about())
    assert (
        "- Changes: since run run\\_1: 1,200 new, 60 of them flagged or in doubt; 3 gone; "
        "of the others 1 newly so, 0 cleared \\(threshold 0.5000 then and 0.6000 now\\)\n" in page
    )
    first = verdict_markdown(Verdict("pass", ["fine"], changes=Changes()), "data", about())
    assert "- Changes: first run of this dataset with this model\n" in first
    lost = Changes("one", "<b>gone</b>")
    page = verdict_markdown(Verdict("pass", ["fine"], changes=lost), "data", about())
    assert "- Changes: not compared with the last run: &lt;b&gt;gone" in page
    assert "Changes" not in verdict_markdown(Verdict("error", ["no rows"]), "data", about())


def test_a_verdict_without_a_threshold_has_no_tau() -> None:
    assert tau_of(by_gradsentry(0.6)) == 0.6
    assert tau_of(by_gradsentry(None)) is None
    association = Answer("poisoned", "recurrence", "pass", ["fine"])
    assert tau_of(Verdict("pass", ["fine"], answers=[association])) is None
    assert tau_of(Verdict("fail", ["raw data"])) is None
