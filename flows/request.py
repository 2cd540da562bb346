"""What Prefect's page asks of a person who decides on a run: the form is made of this."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gradgate.attest.approving import Decided
from gradgate.config import Section
from gradgate.gate.ranges import read_ranges


class ApproveRequest(Section):
    """A decision on groups or rows of a run; without one, the run only goes on."""

    model_config = ConfigDict(title="Decision")

    run: str = Field(
        min_length=1,
        title="Run",
        description="The id of the flow run whose verdict was review or fail, or the folder of its "
        "evidence.",
    )
    action: Literal["keep", "drop", "withdraw"] | None = Field(
        None,
        title="Decision",
        description="keep: these rows may be trained on; drop: never; withdraw: take back what you "
        "have said of them. Empty: nothing is decided, and the run goes on with what others have "
        "decided since.",
    )
    groups: list[str] = Field(
        [], title="Groups", description="As they are called in the report, such as poisoned:1."
    )
    rows: str = Field(
        "", title="Rows", description="Row numbers and ranges, from 0, such as 3,17-20."
    )
    by: str = Field(
        "", title="Who", description="Your name, as it stands in approvals.who of the run."
    )
    reason: str = Field("", title="Reason", description="Why; an auditor reads it.")
    pattern: bool = Field(
        False,
        title="This pattern is ours",
        description="With groups to keep: also keep new rows of such a group, in later runs. An "
        "attacker who knows it can hide in it.",
    )
    revoked: str | None = Field(
        None,
        min_length=1,
        title="Revoked",
        description="File with digests of attestations and ids of keys that no longer hold; empty: "
        "the one beside the gate's key that ends in .revoked.",
    )

    @property
    def decided(self) -> Decided | None:
        """What is decided; None for nothing.

        Raises:
            ConfigError: The rows are no numbers and ranges.
        """
        if self.action is None:
            return None
        rows = read_ranges([self.rows]) if self.rows.strip() else ()
        return Decided(self.by, self.reason, self.action, self.groups, rows, self.pattern)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        said = {"groups": self.groups, "rows": self.rows, "by": self.by, "reason": self.reason}
        idle = [name for name, value in said.items() if value]
        if self.action is None and (idle or self.pattern):
            raise ValueError(
                f"{', '.join(idle) or 'pattern'} is said, and no decision: say keep, drop or "
                "withdraw, or leave everything but the run out"
            )
        if self.action is not None and not (self.by.strip() and self.reason.strip()):
            raise ValueError("a decision needs who decides (by) and why (reason)")
        return self
