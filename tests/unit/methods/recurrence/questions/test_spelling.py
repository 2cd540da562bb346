"""Which tokens spell the same."""

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.config import ModelConfig
from gradgate.methods.recurrence.questions.spelling import spelled
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL


def table_of(ids: Ints) -> TokenTable:
    row = (ids.astype(np.int32), np.zeros(len(ids), bool), np.zeros(len(ids), np.float32))
    return TokenTable.joined([row], load_tokenizer(ModelConfig(path=str(MODEL))))


def test_case_and_blanks_make_no_other_word() -> None:
    tokenizer = load_tokenizer(ModelConfig(path=str(MODEL)))
    the, behind, big, dot, blank, line = (
        tokenizer.encode(text, add_special_tokens=False)[0]
        for text in ("the", " the", "The", ".", " ", "\n")
    )
    assert len({the, behind, big}) == 3
    ids = np.array([the, dot, behind, big, blank, line])
    found = spelled(ids, table_of(ids))
    assert len(set(found[[0, 2, 3]].tolist())) == 1
    assert len(set(found.tolist())) == 4


def test_parts_of_characters_spell_nothing_but_themselves() -> None:
    tokenizer = load_tokenizer(ModelConfig(path=str(MODEL)))
    parts = np.array(tokenizer.encode("鿕龎", add_special_tokens=False))
    table = table_of(parts)
    assert any("\ufffd" in piece for piece in table.pieces(parts))
    assert spelled(parts, table).tolist() == parts.tolist()
