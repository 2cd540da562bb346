"""The configuration of rows that are drawn to be looked at."""

from pydantic import Field

from gradgate.config.data import DataConfig
from gradgate.config.section import Section


class DrawSection(Section):
    """How many rows are drawn."""

    rows: int = Field(150, ge=1, description="Rows to draw, no two of them the same sample.")
    seed: int = Field(0, ge=0, lt=2**32, description="Chooses the rows.")


class DrawConfig(Section):
    """What is drawn from, and how many rows."""

    draw: DrawSection = DrawSection()
    data: DataConfig
