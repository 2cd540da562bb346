"""Question, optional context, and an answer or a list of answers."""

from gradgate.data.formats.fields import (
    Fields,
    Format,
    Parts,
    optional_text,
    plain,
    text_of,
    wrong_type,
)


def _read(fields: Fields, template: str) -> Parts:
    return False, plain(_question_prompt(fields, template), _answers(fields["answers"]))


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


QUESTION_ANSWERS = Format("question_answers", ("question", "answers"), ("context",), _read)
