"""What a record keeps when another pass of the same sample, or of another version, comes."""

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_helpers import RIGHT

from gradgate.gradients.score import SKETCH_BYTES, Score
from gradgate.gradients.signals import SIGNALS, Signal
from gradgate.scoring.store import record as record_module
from gradgate.scoring.store.record import Record

FAILED = Score(None, None, None, 3, None, 0.5, None, None, "failed", "the gradient vanishes")
N_TOKENS = 5  # of the sample of RIGHT
WORSE = replace(FAILED, gradient_norm=None, reason="the model's output is not finite")
UNKNOWN = (200, 7)

ids = st.tuples(st.integers(0, 255), st.integers(0, 255))
entries = st.dictionaries(ids, st.binary(max_size=40), max_size=12)
records = st.builds(Record, st.integers(0, 2**32 - 1), entries, st.one_of(st.none(), entries))


def with_version(monkeypatch: pytest.MonkeyPatch, name: str, version: int) -> None:
    """As a gradgate that computes one of the signals otherwise."""
    changed = tuple(replace(s, version=version) if s.name == name else s for s in SIGNALS)
    monkeypatch.setattr(record_module, "SIGNALS", changed)


@given(records)
def test_a_record_comes_back(record: Record) -> None:
    packed = record.pack()
    assert Record.unpacked(packed) == record
    assert packed[0] == (record.failure is not None)


@given(records, records)
def test_values_that_are_stored_are_never_lost(first: Record, second: Record) -> None:
    joined = first.joined(second)
    newest = {number: version for number, version in sorted(second.values)}
    for (number, version), value in first.values.items():
        if version >= newest.get(number, 0) or first.is_complete:
            assert joined.values[number, version] == value
    if not first.is_complete:
        assert joined.values.keys() >= second.values.keys()
        assert joined.failure == second.failure


def test_the_table_of_signals_is_that_of_a_score() -> None:
    others = {"n_target_tokens", "status", "reason"}
    assert {signal.name for signal in SIGNALS} | others == {field.name for field in fields(Score)}
    numbers = [signal.number for signal in SIGNALS]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8]  # stored scores say so: numbers never change
    assert list(SIGNALS[5].sizes(3)) == [SKETCH_BYTES]


def test_the_size_of_a_record_is_that_of_its_values() -> None:
    assert len(Record.of(RIGHT).pack()) <= 5 * 8 + SKETCH_BYTES + 2 * N_TOKENS + 51


def test_what_this_version_does_not_know_stays() -> None:
    newer = Record(3, {**Record.of(RIGHT).values, UNKNOWN: b"abc"}, None)
    assert newer.score() == RIGHT
    del newer.values[SIGNALS[0].id]
    assert newer.score() is None
    joined = Record.unpacked(newer.joined(Record.of(replace(RIGHT, loss=9.0))).pack())
    assert joined.score() == RIGHT
    assert joined.values[UNKNOWN] == b"abc"


def test_a_failure_takes_no_value_away_and_gives_way() -> None:
    lacking = Record.of(RIGHT)
    del lacking.values[SIGNALS[1].id]
    failed = lacking.joined(Record.of(FAILED))
    assert failed.score() == FAILED
    again = failed.joined(Record.of(WORSE))
    assert again.score() == WORSE
    assert again.values == lacking.values
    assert again.joined(Record.of(replace(RIGHT, entropy_full=0.9, loss=9.0))).score() == replace(
        RIGHT, entropy_full=0.9
    )
    assert Record.of(RIGHT).joined(Record.of(FAILED)).score() == RIGHT


def test_a_new_version_of_a_signal_replaces_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Record.of(RIGHT)
    with_version(monkeypatch, "loss", 3)
    assert old.score() is None
    new = old.joined(Record.of(replace(RIGHT, loss=9.0, entropy_full=0.9)))
    assert new.score() == replace(RIGHT, loss=9.0)
    assert new.values.keys() == (old.values.keys() - {(4, 2)}) | {(4, 3)}
    monkeypatch.undo()  # the older gradgate again: it puts its own beside the newer one
    assert new.score() is None
    both = new.joined(old)
    assert both.score() == RIGHT
    with_version(monkeypatch, "loss", 3)
    assert both.score() == replace(RIGHT, loss=9.0)


def test_a_signal_without_a_value_is_no_missing_one() -> None:
    record = Record.of(replace(RIGHT, entropy_crop=None))
    assert record.is_complete
    assert record.score() == replace(RIGHT, entropy_crop=None)
    assert record.joined(Record.of(RIGHT)).score() == replace(RIGHT, entropy_crop=None)


def test_a_signal_is_what_it_says() -> None:
    sizes = {width: Signal("x", 9, 1, width=width).sizes(3) for width in (None, 3, "per_token")}
    assert list(sizes[None]) == [8]
    assert list(sizes[3]) == [6]
    fitting = [n_bytes for n_bytes in range(20) if n_bytes in sizes["per_token"]]
    assert fitting == [8, 10, 12, 14, 16, 18]  # more tokens than the three that are supervised
    for name, wrong in (
        ("loss", replace(RIGHT, loss=math.nan)),
        ("sketch", replace(RIGHT, sketch=bytes(3))),
        ("token_logp", replace(RIGHT, token_logp=bytes(9))),
        ("token_logp", replace(RIGHT, token_logp=bytes(6))),
        ("token_logp", replace(RIGHT, token_logp=None)),
    ):
        with pytest.raises(ValueError, match=name):
            Record.of(wrong)


@given(st.integers(4, 5_000))
def test_a_vector_of_any_length_comes_back(n_tokens: int) -> None:
    score = replace(RIGHT, token_logp=bytes(i % 251 for i in range(2 * n_tokens)))
    assert Record.unpacked(Record.of(score).pack()).score() == score
