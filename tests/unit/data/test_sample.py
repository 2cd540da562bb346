"""The id of a sample is the hash of its content as canonical JSON, as it always was."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from gradgate.data.sample import Turn, sample_id

texts = st.text(st.characters(), max_size=20)
extras = st.one_of(
    st.just(""), st.dictionaries(texts, st.one_of(texts, st.integers())).map(json.dumps)
)
turns = st.lists(st.builds(Turn, texts, texts, st.booleans(), extras), max_size=4)


@given(st.booleans(), turns, extras)
def test_an_id_is_that_of_the_standard_encoder(chat: bool, made: list[Turn], inputs: str) -> None:
    def written(text: str) -> str:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))

    content: list[object] = [
        chat,
        [
            [turn.role, turn.text, turn.is_target, *([written(turn.extra)] if turn.extra else [])]
            for turn in made
        ],
        *([written(inputs)] if inputs else []),
    ]
    expected = json.dumps(content, separators=(",", ":")).encode("ascii")
    assert sample_id(chat, made, inputs) == hashlib.sha256(expected).hexdigest()
