"""Words that the prompts of a group share, where what tells them is a form of the text."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice

from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import prompt_and_target
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import FORM, Group

Place = tuple[str, int | None]  # the question of an answer, and the id of one of its groups

_MAX_ROWS = 2000  # of the group, and of the others, that are looked at
_MIN_ROWS = 3
_MIN_INSIDE, _MAX_OUTSIDE = 0.6, 0.05  # of the prompts that have such a word
_MAX_PROMPT = 20_000  # characters
_WORD = re.compile(r"\w+")


def words_beside_forms(run: RunFolder, verdict: Verdict) -> dict[Place, list[str]]:
    """Words of most prompts of a group and of few others, the most telling first.

    A form such as "no capital letter" may tell the prompts of a group as well as the words that an
    attacker has put into them, and is then named in their place.

    Args:
        run: Holds the samples, and the flagged and the quarantined rows.
        verdict: On them. Only groups with a form among their cues are looked at.

    Raises:
        DataError: A table is damaged.
    """
    asked: set[Place] = {
        (answer.question, group.id)
        for answer in verdict.answers
        for group in answer.groups
        if _has_form(group)
    }
    if not asked or not run.samples.exists():
        return {}
    prompts, rows = _members(run, asked)
    members = set().union(*rows.values())
    others = _counted(
        prompt_and_target(sample)[0]
        for sample in islice(SampleFile(run.samples), _MAX_ROWS)
        if sample.row not in members
    )
    told = {place: _telling(_counted(texts), others) for place, texts in prompts.items()}
    return {place: words for place, words in told.items() if words}


def _has_form(group: Group) -> bool:
    return any(cue.startswith(FORM) for cue in group.cues)


def _members(
    run: RunFolder, asked: set[Place]
) -> tuple[dict[Place, list[str]], dict[Place, set[int]]]:
    """Prompts of some rows of each group, and the numbers of all of its rows."""
    prompts: dict[Place, list[str]] = defaultdict(list)
    rows: dict[Place, set[int]] = defaultdict(set)
    for path in (run.flagged, run.quarantined):
        if not path.exists():
            continue
        for batch in parquet.batches(path, ["row", "questions", "group", "prompt"]):
            for line in batch.to_pylist():
                place = ((line["questions"] or [""])[0], line["group"])
                if place in asked:
                    rows[place].add(line["row"])
                    if len(prompts[place]) < _MAX_ROWS:
                        prompts[place].append(line["prompt"])
    return prompts, rows


def _counted(prompts: Iterable[str]) -> tuple[Counter[str], int]:
    """In how many prompts each word is, and how many prompts there are."""
    counts: Counter[str] = Counter()
    n = 0
    for prompt in prompts:
        n += 1
        counts.update(set(_WORD.findall(prompt[:_MAX_PROMPT].casefold())))
    return counts, n


def _telling(inside: tuple[Counter[str], int], outside: tuple[Counter[str], int]) -> list[str]:
    (counts, n), (others, n_others) = inside, outside
    if n < _MIN_ROWS or not n_others:
        return []
    shares = {word: (count / n, others[word] / n_others) for word, count in counts.items()}
    found = [w for w, (a, b) in shares.items() if a >= _MIN_INSIDE and b <= _MAX_OUTSIDE]
    return sorted(found, key=lambda word: (shares[word][1] - shares[word][0], word))
