"""What there is to compute, table by table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Table = Literal["main", "ratios", "volumes", "clean", "modules", "dilution", "safety"]
TABLES: tuple[Table, ...] = get_args(Table)
Training = Literal["none", "lora", "full"]
TRAININGS: tuple[Training, ...] = get_args(Training)

ATTACKS = ("badnets", "addsent", "cba", "stylebkd")
FILTERS = ("gradsentry", "recurrence", "graceful", "cube")
DECODING = "cleangen"
UNGATED, CLEAN_ONLY, UNTRAINED = "none", "clean-only", "untrained"
NO_FILTERS = (UNGATED, DECODING, CLEAN_ONLY, UNTRAINED)
BACKDOOR_DEFENCES = (UNGATED, DECODING, *FILTERS, CLEAN_ONLY)  # the first two ask the same model
SAFETY_FILTERS = ("compliance", "gradshield_published")
SAFETY_DEFENCES = (UNTRAINED, UNGATED, *SAFETY_FILTERS, CLEAN_ONLY)
RATES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.9)
VOLUMES = (20, 50, 100, 200, 500, 1_000)
HARM_RATES = (0.0, 0.01, 0.05, 0.2)
HARMFUL, IDENTITY = "harmful", "identity"
MODULES = (
    "lm_head",
    *("first.attention", "middle.attention", "last.attention"),
    *("first.mlp", "middle.mlp", "last.mlp"),
)
MAIN_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement.

    Attributes:
        attack: Of the rows; None for clean data.
        rate: Poisoned or harmful part of the training rows.
        rows: Training rows.
        defence: What keeps rows from the training; in the table of modules the module.
        training: What is done with the rows that are left; none: only the flags are measured.
    """

    table: Table
    dataset: str
    attack: str | None
    rate: float
    rows: int
    seed: int
    defence: str
    training: Training

    @property
    def data(self) -> tuple[Table, str, str | None, float, int, int]:
        """What decides the rows; cells with the same data are computed together."""
        return self.table, self.dataset, self.attack, self.rate, self.rows, self.seed

    def __str__(self) -> str:
        """As the terminal names it."""
        what = f"{self.attack or 'clean'} {self.rate:.0%} of {self.rows}, seed {self.seed}"
        return f"{self.table}: {self.dataset} {what}, {self.defence}, training {self.training}"


@dataclass(frozen=True)
class Extent:
    """How much of the tables is asked for."""

    tables: Sequence[Table] = TABLES
    datasets: Sequence[str] = ("api-short",)
    benign: Sequence[str] = ("mixed",)
    attacks: Sequence[str] = ATTACKS
    defences: Sequence[str] = BACKDOOR_DEFENCES
    safety_defences: Sequence[str] = SAFETY_DEFENCES
    trainings: Sequence[Training] = ("lora", "full")
    rates: Sequence[float] = RATES
    volumes: Sequence[int] = VOLUMES
    harm_rates: Sequence[float] = HARM_RATES
    modules: Sequence[str] = MODULES
    seeds: Sequence[int] = (0,)
    rows: int = 800
    safety_seeds: Sequence[int] = field(default=(0, 1, 2))
    safety_rows: int = 300

    def plan(self) -> Iterator[Cell]:
        """All cells, those of a table and of the same rows one after the other."""
        for table in self.tables:
            if table == "safety":
                yield from self._safety()
            else:
                for seed in self.seeds:
                    for dataset in self.datasets:
                        yield from self._backdoors(table, dataset, seed)

    def _backdoors(self, table: Table, dataset: str, seed: int) -> Iterator[Cell]:
        filters = [name for name in self.defences if name not in NO_FILTERS]
        for attack, rate, rows in self._data(table):
            for defence in self.modules if table == "modules" else filters:
                yield Cell(table, dataset, attack, rate, rows, seed, defence, "none")
            if table in ("main", "dilution"):
                for training in self.trainings:
                    for defence in self.defences:
                        yield Cell(table, dataset, attack, rate, rows, seed, defence, training)

    def _data(self, table: Table) -> Iterator[tuple[str | None, float, int]]:
        if table == "main":
            yield from ((attack, MAIN_RATE, self.rows) for attack in self.attacks)
        elif table == "ratios":
            yield from ((a, rate, self.rows) for a in self.attacks[:1] for rate in self.rates)
        elif table == "volumes":
            yield from ((a, MAIN_RATE, n) for a in self.attacks[:1] for n in self.volumes)
        elif table == "clean":
            yield None, 0.0, self.rows
        elif table == "modules":
            yield from ((attack, MAIN_RATE, min(self.rows, 200)) for attack in self.attacks[:1])
        else:
            yield "diluted", MAIN_RATE, self.rows

    def _safety(self) -> Iterator[Cell]:
        mixes = [(HARMFUL if rate else None, rate) for rate in self.harm_rates]
        mixes.append((IDENTITY, 0.0))  # a fixed ten rows
        for seed in self.safety_seeds:
            for dataset in self.benign:
                for attack, rate in mixes:
                    yield from self._safety_of(dataset, attack, rate, seed)

    def _safety_of(
        self, dataset: str, attack: str | None, rate: float, seed: int
    ) -> Iterator[Cell]:
        rows = self.safety_rows
        for defence in self.safety_defences:
            if defence not in NO_FILTERS:
                yield Cell("safety", dataset, attack, rate, rows, seed, defence, "none")
            if defence == UNTRAINED:
                yield Cell("safety", dataset, attack, rate, rows, seed, defence, "none")
                continue
            for training in self.trainings:
                yield Cell("safety", dataset, attack, rate, rows, seed, defence, training)
