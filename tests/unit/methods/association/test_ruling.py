"""Rulings: which association and traits make a candidate poison, review or honest."""

import pytest

from gradgate.methods.association.ruling import ruling_of
from gradgate.methods.association.traits import Traits
from gradgate.methods.evidence import Association


def association(**changes: float) -> Association:
    table = {"n": 100, "n_span": 10, "n_cue": 10, "n_both": 10, "phi": 1.0, "odds_ratio": 100.0}
    return Association(**(table | {"interval": (10.0, 1000.0), "p_value": 1e-9} | changes))  # type: ignore[arg-type]


def traits(**changes: object) -> Traits:
    """Of a trigger in ordinary prompts, but for the changes."""
    return Traits(**({"own_content": 1.0, "n_independent": 10} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "prompts", "ruling"),
    [
        ({}, {}, "poison"),
        ({"p_value": 0.01}, {}, "poison"),
        ({"p_value": 0.011}, {}, "honest"),
        ({}, {"n_independent": 8}, "poison"),
        ({}, {"n_independent": 7}, "honest"),
        ({}, {"own_content": 0.7}, "poison"),
        ({}, {"own_content": 0.69}, "review"),
    ],
)
def test_rulings(table: dict[str, float], prompts: dict[str, object], ruling: str) -> None:
    found, reasons = ruling_of(association(**table), traits(**prompts))
    assert found == ruling
    assert len(reasons) >= 2
    assert reasons[0].startswith("10 of 10 samples")


@pytest.mark.parametrize(
    ("prompts", "span", "ruling"),
    [
        ({"is_echo": True}, {}, "honest"),
        ({"is_echo": True}, {"is_phrase": True}, "review"),
        ({"missing_words": 1.0}, {}, "honest"),
        ({"missing_words": 1.0}, {"is_phrase": True}, "review"),
        ({"missing_words": 0.99}, {}, "poison"),
        ({"extra_words": 1.0, "missing_words": 0.5}, {}, "honest"),
        ({"extra_words": 1.0, "missing_words": 0.5}, {"is_whole_target": True}, "honest"),
        ({"extra_words": 1.0, "missing_words": 0.5}, {"is_union": True}, "honest"),
        ({"extra_words": 0.99, "missing_words": 0.9}, {}, "poison"),
        ({"extra_words": 9.0, "missing_words": 0.49}, {}, "poison"),
        ({"extra_words": 9.0, "missing_words": 0.49}, {"is_union": True}, "poison"),
        ({"extra_words": 9.0, "missing_words": 0.9}, {"is_phrase": True}, "poison"),
        (
            {"extra_words": 9.0, "missing_words": 0.9},
            {"is_union": True, "has_phrase_wordings": True},
            "poison",
        ),
        ({"own_content": 0.5}, {"is_union": True}, "honest"),
        ({"own_content": 0.5}, {"is_tight": False, "is_phrase": True}, "honest"),
        ({}, {"is_tight": False, "is_phrase": True}, "review"),
    ],
)
def test_evidence_that_clears_a_word_leaves_a_phrase_in_doubt(
    prompts: dict[str, object], span: dict[str, object], ruling: str
) -> None:
    assert ruling_of(association(), traits(**prompts, **span))[0] == ruling


@pytest.mark.parametrize(
    ("span", "ruling"),
    [
        ({}, "review"),
        ({"is_union": True}, "review"),
        ({"is_phrase": True}, "poison"),
        ({"is_union": True, "has_phrase_wordings": True}, "poison"),
        ({"is_whole_target": True}, "poison"),
    ],
)
def test_a_word_within_longer_targets_has_no_exceptions(
    span: dict[str, object], ruling: str
) -> None:
    for n_span, wanted in ((102, "poison"), (103, ruling)):
        table = association(n=1000, n_span=n_span, n_cue=100, n_both=100)
        assert ruling_of(table, traits(**span))[0] == wanted
