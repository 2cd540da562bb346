"""A decision as it is typed, at `gradgate approve` and `python -m flows approve`."""

from dataclasses import dataclass

from gradgate.approvals.record import Action
from gradgate.errors import ConfigError


@dataclass(frozen=True)
class Said:
    """What was typed; see the options of the same names."""

    by: str
    reason: str
    groups: list[str]
    rows: list[str]
    keep: bool
    drop: bool
    withdraw: bool
    pattern: bool

    @property
    def action(self) -> Action | None:
        """What is decided; None for nothing.

        Raises:
            ConfigError: Two things are.
        """
        options: dict[Action, bool] = {
            "keep": self.keep,
            "drop": self.drop,
            "withdraw": self.withdraw,
        }
        named = [action for action, is_said in options.items() if is_said]
        if len(named) > 1:
            raise ConfigError(f"say one of --{' and --'.join(named)}, and not both")
        return named[0] if named else None
