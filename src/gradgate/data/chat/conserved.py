"""What no chat template may leave out of a sample, or else the row is rejected.

Beside it stand names, identifiers and options that a template may pass over. Who varies those
changes nothing that is trained on.
"""

import json
from typing import Any

from gradgate.data.chat.form import calls_of, parsed
from gradgate.data.chat.leaves import functions_of, longest_leaf
from gradgate.data.sample import Sample, Turn, thoughts_of


def conserved_text(sample: Sample) -> tuple[str, str]:
    """The texts, thoughts, calls, tools and documents: what is given, and what is learnt."""
    given = [_of_turn(turn) for turn in sample.turns if not turn.is_target]
    learnt = [_of_turn(turn) for turn in sample.turns if turn.is_target]
    return "\n".join([*_of_inputs(sample), *given]), "\n".join(learnt)


def _of_turn(turn: Turn) -> str:
    if not turn.extra:
        return turn.text
    extra: dict[str, Any] = json.loads(turn.extra)
    calls = [f"{call.get('name')} {_sorted(call.get('arguments'))}" for call in calls_of(extra)]
    return "\n".join([*thoughts_of(extra), turn.text, *calls])


def _of_inputs(sample: Sample) -> list[str]:
    if not sample.template_inputs:
        return []
    inputs: dict[str, Any] = json.loads(sample.template_inputs)
    names = [str(function.get("name")) for function in functions_of(inputs.get("tools") or [])]
    return [*names, *map(longest_leaf, inputs.get("documents") or [])]


def _sorted(arguments: object) -> str:
    return json.dumps(parsed(arguments), sort_keys=True, ensure_ascii=False)
