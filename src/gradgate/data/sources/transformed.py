"""Data whose rows are made anew at each reading, so that others may be trained on than were judged.

A `datasets.Dataset` with a transform is such, and so is what torch wraps around one.
"""

from collections.abc import Mapping
from typing import Any


def is_made_anew(data: Any) -> bool:
    """Whether a dataset has a transform (`set_transform`, `with_transform`), or wraps one that has.

    Args:
        data: A `datasets.Dataset`, or any of torch's, such as `Subset` and `ConcatDataset`.
    """
    seen, left = set[int](), [data]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = getattr(one, "format", None)
        if isinstance(kind, Mapping) and kind.get("type") == "custom":
            return True
        several = getattr(one, "datasets", None)
        left += [getattr(one, "dataset", None), *(several if isinstance(several, list) else [])]
    return False
