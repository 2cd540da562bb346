from gradgate.release.pieces import pieces, units, words_in_pieces


def texts(text: str) -> list[str]:
    return [piece.text for piece in pieces(text)]


def test_words_are_pieces_where_scripts_have_case() -> None:
    assert texts("Who  wrote\tit?\n") == ["Who", "wrote", "it?"]
    accented = "e\N{COMBINING ACUTE ACCENT}t"
    assert texts(f"Ёлка naïve {accented}") == ["Ёлка", "naïve", accented]
    assert units("Who wrote WHO") == {"who", "wrote"}
    assert not any(piece.is_glued for piece in pieces("who wrote it"))


def test_letters_without_case_are_pieces_with_their_marks() -> None:
    assert texts("北京Station是?") == ["北", "京", "Station", "是", "?"]
    assert texts("ที่นี่") == ["ที่", "นี่"]
    assert texts("サーバー") == ["サー", "バー"]
    assert [[piece.text for piece in word] for word in words_in_pieces("北京 是")] == [
        ["北", "京"],
        ["是"],
    ]
    assert [piece.is_glued for piece in pieces("北京 是")] == [False, True, False]
    assert [(piece.start, piece.end) for piece in pieces(" 北京")] == [(1, 2), (2, 3)]


def test_units_are_the_word_and_its_pieces_behind_one_another() -> None:
    assert units("北京是") == {"北", "京", "是", "北京", "京是", "北京是"}
    assert "北京是哪" in units("北京是哪里", 4)
    assert "北京是哪" not in units("北京是哪里")
    assert units("سلام") >= {"سلام"}
    assert units(" \n") == set()
