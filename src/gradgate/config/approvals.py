"""Who may decide on rows that the gate has left open, or has rejected."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from gradgate.config.section import Section


class ApprovalsConfig(Section):
    """Decisions of people on groups and single rows (docs/approvals.md)."""

    who: list[str] = Field(
        [],
        description="Names that may decide, as they are typed at --by; nobody when empty, and then "
        "no earlier decision counts either.",
    )
    needed: int = Field(1, ge=1, description="How many different names have to say the same.")
    former_keys: str | None = Field(
        None,
        min_length=1,
        description="File of the public keys that the gate signed with before; without it only "
        "decisions that its present key has signed can be read.",
    )

    @field_validator("who")
    @classmethod
    def _are_names(cls, who: list[str]) -> list[str]:
        if any(name != name.strip() or not name or not name.isprintable() for name in who):
            raise ValueError("a name is empty, or has blanks around it or characters nobody sees")
        if len(set(who)) < len(who):
            raise ValueError("a name stands there twice")
        return who

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.who and self.needed > len(self.who):
            raise ValueError(
                f"needed is {self.needed}, and who has {len(self.who)} names: nothing could ever "
                "be decided"
            )
        return self
