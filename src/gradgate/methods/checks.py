"""Whether a detection keeps the contract: a method that breaks it must not end in a pass."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.common.run_folder import FLAG_FIELDS, SCORE_SCHEMA
from gradgate.errors import DataError, MethodError
from gradgate.methods.contract import Detection, Method, Question, Scores, Undecided

_FLAGS = [field.name for field in FLAG_FIELDS]
_TAKEN = {*SCORE_SCHEMA.names, *_FLAGS, *(f"{q}_{n}" for q in get_args(Question) for n in _FLAGS)}
_MEANINGS = get_args(Undecided)


def require_signals(method: Method[Any], scores: Scores) -> None:
    """Check that every scored row has what the method needs; NaN would never be flagged.

    Raises:
        DataError: A needed signal is missing or not finite, or the log-probability of a token.
    """
    for name in method.needs:
        _require(method, name, scores, ~np.isfinite(scores.signals[name]))
    if method.needs_tokens:
        everywhere = np.ones(scores.n, bool)
        lacking = everywhere if scores.tokens is None else scores.tokens.lacking()
        _require(method, "token_logp", scores, lacking)


def _require(method: Method[Any], name: str, scores: Scores, lacking: Marks) -> None:
    n_missing = int((scores.is_scored & lacking).sum())
    if n_missing:
        raise DataError(
            f"method {method.name} needs {name}, which {n_missing} of {scores.n} rows lack; "
            "use another method, or leave these rows out"
        )


def require_contract(method: Method[Any], found: Detection, scores: Scores) -> None:
    """Check what a method returned.

    Raises:
        MethodError: It does not keep the contract; the message says where.
    """
    fault = (
        _fault_of_names(found)
        or _fault_of_arrays(found, scores.n)
        or _fault_of_groups(found, scores.n)
        or _fault_of_reasons(found, scores.n)
        or _fault_of_decision(found)
        or _fault_of_summary(found)
    )
    if fault is not None:
        raise MethodError(f"method {method.name} breaks its contract: {fault}")


def require_own_signals(found: Mapping[str, Detection]) -> None:
    """Check that no two methods put a signal of the same name into the table.

    Args:
        found: What the methods say, by their names.

    Raises:
        MethodError: Two do.
    """
    of: dict[str, str] = {}
    for method, detection in found.items():
        for name in detection.signals:
            if name in of:
                raise MethodError(
                    f"method {method} breaks its contract: {of[name]} has a signal {name} as well"
                )
            of[name] = method


def _fault_of_arrays(found: Detection, n: int) -> str | None:
    marks = {"in_doubt": found.in_doubt}
    if found.flagged is not None:
        marks["flagged"] = found.flagged
    numbers = {"suspicion": found.suspicion, "group": found.group, **found.signals}
    if found.p_values is not None:
        numbers["p_values"] = found.p_values
    for name, values in {**marks, **numbers}.items():
        if not isinstance(values, np.ndarray) or values.shape != (n,):
            return f"{name} must be an array of shape ({n},), not {_shape(values)}"
        if name in marks and values.dtype != np.bool_:
            return f"{name} must hold booleans, not {values.dtype}"
        if name in numbers and values.dtype.kind not in "fiu":
            return f"{name} must hold numbers, not {values.dtype}"
    return None


def _fault_of_groups(found: Detection, n: int) -> str | None:
    known = [0, *(group.id for group in found.groups)]
    unknown = found.group[~np.isin(found.group, known)]
    if unknown.size:
        return f"group has {unknown[0]}, which is no group's id"
    for number, members in found.members.items():
        if number not in known[1:]:
            return f"members has {number!r}, which is no group's id"
        if _shape(members) != f"({n},)" or members.dtype != bool:
            return f"the members of group {number} must be booleans of shape ({n},)"
    return None


def _fault_of_reasons(found: Detection, n: int) -> str | None:
    for position, lines in found.reasons.items():
        if position not in range(n):
            return f"it has reasons for row {position!r}, and there are {n}"
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            return f"the reasons for row {position} must be a list of strings"
    return None


def _shape(values: object) -> str:
    return str(getattr(values, "shape", type(values).__name__))


def _fault_of_decision(found: Detection) -> str | None:
    if found.undecided_means not in _MEANINGS:
        return f"undecided_means is {found.undecided_means!r}, not one of {', '.join(_MEANINGS)}"
    if found.flagged is None:
        return None if found.undecided_because else "flagged is None, and undecided_because empty"
    if found.undecided_because and (found.flagged.any() or found.undecided_means != "pass"):
        return "it could not decide, and yet says which rows are flagged"
    if (found.flagged & found.in_doubt).any():
        return "a row is both flagged and in doubt"
    return None


def _fault_of_names(found: Detection) -> str | None:
    taken = sorted(_TAKEN & set(found.signals))
    return f"its signals have names of other columns: {', '.join(taken)}" if taken else None


def _fault_of_summary(found: Detection) -> str | None:
    try:
        json.dumps(found.summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"its summary holds no plain JSON values: {error}"
    return None
