"""A decision as it is typed, at `gradgate approve` and `python -m flows approve`."""

from gradgate.approvals.record import Action
from gradgate.errors import ConfigError


def action_of(keep: bool, drop: bool, withdraw: bool) -> Action | None:
    """What is decided; None for nothing.

    Raises:
        ConfigError: Two things are.
    """
    options: dict[Action, bool] = {"keep": keep, "drop": drop, "withdraw": withdraw}
    named = [action for action, is_said in options.items() if is_said]
    if len(named) > 1:
        raise ConfigError(f"say one of --{' and --'.join(named)}, and not both")
    return named[0] if named else None
