"""Fields of what is signed: records that refuse what they don't know, digests, moments."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _as_written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[AwareDatetime, PlainSerializer(_as_written)]


class Record(BaseModel):
    """Refuses unknown fields, which may be conditions, and other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
