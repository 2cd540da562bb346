"""What mining strings costs on long rows: processor time and memory of method `recurrence` alone.

Usage: `python -m benchmarks.mining FILE --tokenizer MODEL [--rows N] [--words N]`

FILE has a row a line, instruction, input and output, gzipped or not. Stretches of its text are
joined to rows of so many words, a third of them the prompt, so that phrases recur as they do in
long text. Log-probabilities are drawn around what the frequency of a token gives: no model is
needed, and none is asked.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.methods.contract import Scores
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.tokens import TokenRow, TokenTable

_SHORTEST, _LONGEST = 20, 60  # words of a stretch
_EXPECTED = 0.6  # of ln f of a token, on average, is its log-probability
_SCATTER = 1.5  # nats


def words_of(path: Path) -> list[str]:
    """The words of all rows of a file, one behind the other."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = (f"{row['instruction']} {row['input']} {row['output']}" for row in rows)
    return [word for text in texts for word in text.split(" ")]


def joined(words: list[str], n: int, rng: np.random.Generator) -> str:
    """So many words, of stretches from random places."""
    found: list[str] = []
    while len(found) < n:
        start = int(rng.integers(len(words) - _LONGEST))
        found += words[start : start + int(rng.integers(_SHORTEST, _LONGEST))]
    return " ".join(found[:n])


def drawn(words: list[str], n_rows: int, n_words: int) -> list[Sample]:
    """Rows of so many words."""
    rng, made = np.random.default_rng(0), []
    for row in range(n_rows):
        prompt = joined(words, n_words // 3, rng)
        target = " " + joined(words, n_words - n_words // 3, rng)
        turns = (Turn("prompt", prompt, False), Turn("completion", target, True))
        made.append(Sample(row, sample_id(False, turns), False, turns))
    return made


def scores_of(samples: list[Sample], tokenizer: str) -> Scores:
    """Scores of samples, with drawn log-probabilities."""
    known, rng = AutoTokenizer.from_pretrained(tokenizer), np.random.default_rng(1)
    texts = [turn.text for sample in samples for turn in sample.turns]
    ids = [np.array(one, np.int32) for one in known(texts)["input_ids"]]
    frequency = np.bincount(np.concatenate(ids)) / sum(map(len, ids))
    rows: list[TokenRow] = []
    for prompt, target in zip(ids[::2], ids[1::2], strict=True):
        both = np.concatenate([prompt, target])
        logp = _EXPECTED * np.log(frequency[both]) + rng.normal(0, _SCATTER, len(both))
        logp[0] = np.nan
        is_target = np.arange(len(both)) >= len(prompt)
        rows.append((both, is_target, np.minimum(logp, -0.01).astype(np.float32)))
    n = len(samples)
    return Scores(
        rows=np.arange(n),
        sample_ids=[sample.sample_id for sample in samples],
        is_scored=np.ones(n, bool),
        signals={},
        tokens=TokenTable.joined(rows, known),
    )


def _mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Print what mining takes."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("file", type=Path)
    made.add_argument("--tokenizer", required=True)
    made.add_argument("--rows", type=int, default=3_000)
    made.add_argument("--words", type=int, default=600)
    arguments = made.parse_args()
    samples = drawn(words_of(arguments.file), arguments.rows, arguments.words)
    scores = scores_of(samples, arguments.tokenizer)
    Path("/proc/self/clear_refs").write_text("5")
    before, started = _mib("VmRSS"), time.process_time()
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    taken, peak = time.process_time() - started, _mib("VmHWM")
    assert scores.tokens is not None
    print(f"{len(scores.tokens.ids):,} tokens, {taken:.1f} s, {len(found.groups)} groups")
    print(f"before {before:.0f} MiB, peak {peak:.0f} MiB, more {peak - before:.0f} MiB")


if __name__ == "__main__":
    main()
