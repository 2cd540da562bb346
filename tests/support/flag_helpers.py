"""One method asked alone, as most tests of flags do."""

from pathlib import Path
from typing import Any

from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig, Section
from gradgate.gate.flags import DEFAULT_POLICY, Asked, Flagging
from gradgate.gate.flags import flag as flag_by_all
from gradgate.methods.contract import Method, ModelAccess


def flag(
    run: RunFolder,
    method: Method[Any],
    settings: Section,
    reference: Path | None = None,
    policy: PolicyConfig = DEFAULT_POLICY,
    model: ModelAccess | None = None,
) -> Flagging:
    """What a method says of a scored data set; the tables are written."""
    (found,) = flag_by_all(run, [Asked(method, settings, reference, model)], policy)
    return found
