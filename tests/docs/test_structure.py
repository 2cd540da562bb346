"""The picture of the packages is that of the code."""

from tools import structure


def test_the_picture_is_up_to_date() -> None:
    """`make structure` draws it anew."""
    assert structure.in_words(structure.read_arrows()) in structure.OUTPUT.read_text("utf-8")


def test_an_arrow_that_a_longer_way_stands_for_is_left_out() -> None:
    arrows = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert structure.without_detours(arrows) == {"a": {"b"}, "b": {"c"}, "c": set()}
