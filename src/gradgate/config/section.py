"""What all sections of the configuration have in common."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Refuses unknown keys and other types: a misspelt limit is an error and never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @classmethod
    def with_todays_keys(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """The content of a file of an earlier version, with settings where they stand now.

        Raises:
            ValueError: A setting stands at its old and at its new place.
        """
        return content
