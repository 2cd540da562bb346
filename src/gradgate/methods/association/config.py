"""Settings of method `association`."""

from pydantic import Field

from gradgate.config import Section


class AssociationConfig(Section):
    """Method `association`."""

    fdr: float = Field(
        0.05, gt=0, lt=1, description="False-discovery rate among groups held against `reference`."
    )
