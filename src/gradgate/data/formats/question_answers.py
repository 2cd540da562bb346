"""Question, optional context, and an answer or a list of answers."""

from gradgate.data.formats import exchange
from gradgate.data.formats.fields import (
    Fields,
    Format,
    Parts,
    Reading,
    optional_text,
    text_of,
    wrong_type,
)


def _read(fields: Fields, reading: Reading) -> Parts:
    question, context = text_of(fields, "question"), optional_text(fields, "context")
    asked = f"{context}\n\n{question}" if context.strip() else question
    prompt = _question_prompt(fields, reading.template)
    return exchange.exchange(fields, prompt, asked, _answers(fields["answers"]))


def _question_prompt(fields: Fields, template: str) -> str:
    question, context = text_of(fields, "question"), optional_text(fields, "context")
    if not question.strip():
        return ""
    prompt = template.format(question=question, context=context)
    return prompt if context else prompt.lstrip()


def _answers(value: object) -> str:
    """Join the answers; SQuAD has them in an object, beside where they start."""
    answers = value["text"] if isinstance(value, dict) and "text" in value else value
    if isinstance(answers, str):
        return answers
    if not isinstance(answers, list):
        raise wrong_type("answers", value)
    texts = [text_of({"an answer": answer}, "an answer") for answer in answers]
    return "; ".join(texts) if any(text.strip() for text in texts) else ""


QUESTION_ANSWERS = Format(
    "question_answers",
    ("question", "answers"),
    ("context", "system", "history"),
    _read,
    {
        **exchange.NAMES,
        "question": ("question", "query"),
        "answers": ("answers", "answer", "response"),
    },
)
