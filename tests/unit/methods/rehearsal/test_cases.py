"""What the targets of a group share that others lack."""

from gradgate.methods.rehearsal.cases import grams_of, last_target, telling_grams

PAYLOAD = [4, 5, 6, 7]


def test_a_payload_tells_the_targets_of_a_group_from_honest_ones_among_its_prompts() -> None:
    honest = [[1, 2, 3, 10 + i] for i in range(6)]
    grams = telling_grams([*[PAYLOAD] * 4, *honest], [[1, 2, 3, 30 + i] for i in range(20)])
    assert grams == set(grams_of(PAYLOAD))
    assert all(grams.isdisjoint(grams_of(target)) for target in honest)


def test_what_all_rows_share_tells_nothing() -> None:
    inside, outside = [[1, 2, 3, 10 + i] for i in range(6)], [[1, 2, 3, 30 + i] for i in range(6)]
    assert telling_grams(inside, outside) == set()


def test_a_label_tells_where_it_is_rarer_elsewhere() -> None:
    label, other = [8, 0], [9, 0]
    assert telling_grams([label] * 8, [label, other] * 8) == set(grams_of(label))
    assert telling_grams([label] * 8, [label] * 12 + [other] * 4) == set()


def test_the_last_target_is_cut_and_may_be_missing() -> None:
    assert last_target([False, True, False, True, True]) == (3, 5)
    assert last_target([False] * 3 + [True] * 100) == (3, 67)
    start, stop = last_target([False, False])
    assert start == stop
