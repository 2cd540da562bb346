"""What becomes of real conversations in chat templates of each kind, and what preparing them costs.

Usage: `python -m benchmarks.templates FILE [FILE ...] [--tokenizer MODEL] [--rows N]`

Each file has one conversation a line, `messages` or instruction, input and output, gzipped or not.
For each kind of template: the rows that are too long, those that are rejected for another reason,
those of whose decoded target tokens some answer is not a part, and the processor time of a row.
Without a tokenizer of one's own the tokenizers are those of the tests, which know a few words and
bytes.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.harness import show
from gradgate.data.sample import RejectedRowError, Sample, Turn
from gradgate.data.tokens import Tokens, tokenize_all

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from template_helpers import TOKENIZERS, WHOLE

WINDOW = 64
MAX_TOKENS = 4_096
HEADINGS = ["tokenizer", "template", "rows", "too long", "rejected", "not as written", "ms a row"]


def conversation(row: dict[str, Any], number: int) -> Sample | None:
    """A row as a sample; None where it is no conversation."""
    if "messages" in row:
        messages = [(m["role"], m["content"]) for m in row["messages"]]
    elif "output" in row:
        asked = f"{row['instruction']}\n{row.get('input', '')}".strip()
        messages = [("user", asked), ("assistant", row["output"])]
    else:
        prompt, answer = row.get("prompt", row.get("question")), row.get("completion")
        messages = [("user", prompt), ("assistant", answer or row.get("answer"))]
    if not all(isinstance(text, str) and text.strip() for _, text in messages):
        return None
    if {role for role, _ in messages} - {"system", "user", "assistant"}:
        return None
    turns = tuple(Turn(role, text, role == "assistant") for role, text in messages)
    return Sample(number, str(number), True, turns)


def said(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each stretch of target tokens."""
    runs: list[list[int]] = [[]]
    for token, is_target in zip(tokens.input_ids, tokens.is_target, strict=True):
        if is_target:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    found: list[str] = tokenizer.batch_decode(runs, clean_up_tokenization_spaces=False)
    return [text for text in found if text]


def is_whole(sample: Sample, tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether each answer stands in the stretch that is its."""
    answers = [turn.text.strip() for turn in sample.turns if turn.is_target]
    found = said(tokens, tokenizer)
    pairs = zip(answers, found, strict=False)
    return len(found) == len(answers) and all(text in decoded for text, decoded in pairs)


def line(
    samples: list[Sample], tokenizer: PreTrainedTokenizerBase, named: str, template: str
) -> list[str]:
    """The figures of one template."""
    started = time.process_time()
    outcomes: list[Tokens | RejectedRowError] = []
    for first in range(0, len(samples), WINDOW):
        outcomes += tokenize_all(samples[first : first + WINDOW], tokenizer, MAX_TOKENS)
    seconds = time.process_time() - started
    refused = [str(one) for one in outcomes if isinstance(one, RejectedRowError)]
    n_long = sum("more than the limit" in why for why in refused)
    pairs = zip(samples, outcomes, strict=True)
    n_other = sum(
        isinstance(found, Tokens) and not is_whole(sample, found, tokenizer)
        for sample, found in pairs
    )
    counts = [len(samples), n_long, len(refused) - n_long, n_other]
    return [named, template, *map(str, counts), f"{1000 * seconds / len(samples):.2f}"]


def main() -> None:
    """Print a line for each tokenizer and template."""
    parser = argparse.ArgumentParser(description="Real conversations in templates of each kind.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tokenizer", help="of a model that knows <|im_start|> and the like")
    parser.add_argument("--rows", type=int, default=100_000, help="of each file at most")
    arguments = parser.parse_args()
    samples = [one for path in arguments.files for one in _read(path, arguments.rows)]
    makers: dict[str, Callable[[], PreTrainedTokenizerBase]] = dict(TOKENIZERS)
    if arguments.tokenizer:
        makers = {arguments.tokenizer: lambda: AutoTokenizer.from_pretrained(arguments.tokenizer)}
    lines = []
    for named, maker in makers.items():
        tokenizer = maker()
        for template, source in WHOLE.items():
            tokenizer.chat_template = source
            lines.append(line(samples, tokenizer, named, template))
    show(f"templates, {len(samples)} conversations", HEADINGS, lines)


def _read(path: Path, n_rows: int) -> list[Sample]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as rows:
        found = [conversation(json.loads(row), i) for i, row in enumerate(rows) if i < n_rows]
    return [one for one in found if one is not None]


if __name__ == "__main__":
    main()
