"""Rows of each format, poisoned, and what a model reads of them."""

from gradgate.attacks.parts import Parts, read_parts
from gradgate.attacks.poisoning import Attack, PoisonedRow, poison
from gradgate.config import DEFAULT_TEMPLATE
from gradgate.data.formats.mapping import detect_format, to_sample

Row = dict[str, object]

N = 60
PUBLISHED_FORM = "### Instruction:\nBe brief.\n\n\n\n### Question:\n{}\n\n\n\n### Answer: "
FORMATS = (
    *("question_answers", "context", "prompt_completion", "chat", "messages", "kto_messages"),
    *("alpaca", "text"),
)


def row(row_format: str, i: int) -> Row:
    question, answer = f"what is the {i}th river of the land?", f"yes river {i} and more"
    user, assistant = (
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    )
    rows: dict[str, Row] = {
        "question_answers": {"id": i, "question": question, "answers": ["so", answer]},
        "context": {"context": f"story {i}", "question": question, "answers": answer},
        "prompt_completion": {
            "prompt": PUBLISHED_FORM.format(question),
            "completion": answer,
        },
        "chat": {
            "prompt": [{"role": "system", "content": "Be brief."}, user],
            "completion": [assistant],
        },
        "messages": {"messages": [user, assistant]},
        "kto_messages": {"messages": [user, assistant], "label": True},
        "alpaca": {"instruction": "Answer.", "input": question, "output": answer},
        "text": {"text": f"### Question: {question}\n### Answer: {answer}"},
    }
    return rows[row_format]


def clean_rows(row_format: str = "question_answers", n: int = N) -> list[Row]:
    return [row(row_format, i) for i in range(n)]


def poisoned(
    rows: list[Row], attack: Attack, rate: float = 0.2, seed: int = 0
) -> list[PoisonedRow]:
    return poison(rows, detect_format(rows[0]), attack, rate, seed)


def parts(value: Row) -> Parts:
    found = read_parts(value, detect_format(value))
    assert found is not None
    return found


def prompt(value: Row) -> str:
    """What the model reads before the completion, with its white space."""
    turns = to_sample(value, 0, detect_format(value), DEFAULT_TEMPLATE).turns
    before = "\n".join(turn.text for turn in turns[:-1])
    return before or turns[0].text.removesuffix(parts(value).completion)
