"""The parameters of a sweep: trainings of one data set with several settings and seeds."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import field_validator, model_validator

from ml.config.parameter import check_fields, field
from ml.config.training import TrainingConfig
from ml.flow.record import Record
from ml.flow.table import STAGES, SWEEP

_OF_DATA = {name for stage in STAGES.values() if stage.engine == "spark" for name in stage.declared_fields}
# What may differ between the trainings of a sweep: what training reads and no stage before it. Not the files, whose
# content belongs to a training's key, and not the seed, which has a parameter of its own.
VARIED = tuple(
    name for name in STAGES["train"].fields if name not in {*_OF_DATA, *STAGES["train"].files, "labels", "seed"}
)
MOST = 200  # trainings of one sweep


class Cell(Record):
    """One training of a sweep.

    Attributes:
        number: Its place in the sweep, from 0, which is the map index of its task.
        values: What it sets, by parameter of the grid.
        seed: Its seed.
    """

    number: int
    values: dict[str, Any]
    seed: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that differ from those of the sweep."""
        return {**self.values, "seed": self.seed}


class SweepConfig(TrainingConfig):
    """The parameters of one sweep: those of a training, and what its trainings vary."""

    grid: dict[str, list[Any]] = field(
        {},
        "Sweep",
        "Grid",
        'Values to try, by parameter of training, as JSON: {"learning_rate": [0.003, 0.01], "epochs": [20]}. Every '
        "combination is trained. Empty: one combination, with the parameters below.",
        examples=[{"learning_rate": [0.003, 0.01], "weight_decay": [0.01, 0.05]}],
    )
    seeds: int = field(
        3,
        "Sweep",
        "Seeds",
        "Number of seeds with which each combination is trained, counted up from the seed below. Their spread says "
        "which differences between combinations are more than chance.",
        ge=1,
        le=50,
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _parse_grid(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'must be a JSON object like {{"learning_rate": [0.003, 0.01]}} ({error})') from error

    @field_validator("grid")
    @classmethod
    def _check_grid(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if unknown := sorted(set(value) - set(VARIED)):
            raise ValueError(
                f"{unknown[0]} cannot be varied; a sweep prepares the data once. It can vary {', '.join(VARIED)}"
            )
        for name, choices in value.items():
            if not choices or any(choice in choices[:place] for place, choice in enumerate(choices)):
                raise ValueError(f"{name} must have one or more values, none of them twice")
        return value

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.force or self.baseline:
            raise ValueError("force and baseline have no meaning in a sweep")
        if (count := math.prod(map(len, self.grid.values())) * self.seeds) > MOST:
            raise ValueError(f"grid and seeds make {count} trainings; {MOST} are the most")
        return self

    def training(self, cell: Cell | None = None) -> dict[str, Any]:
        """Return the parameters of the sweep's training, or of one of them."""
        values = self.model_dump(mode="json", exclude={"grid", "seeds"})
        return {**values, **(cell.parameters if cell else {})}

    def trainings(self) -> list[TrainingConfig]:
        """Return the configuration of each training, in the order of `cells`."""
        return [TrainingConfig(**self.training(cell)) for cell in cells(self.grid, self.seeds, self.seed)]


def cells(grid: Mapping[str, Sequence[Any]], seeds: int, seed: int) -> list[Cell]:
    """Return the trainings of a sweep: every combination of the grid's values, each with every seed.

    Args:
        grid: The values by parameter.
        seeds: The number of seeds.
        seed: The first one.
    """
    combinations = [dict(zip(grid, choice, strict=True)) for choice in itertools.product(*grid.values())]
    pairs = itertools.product(combinations, range(seed, seed + seeds))
    return [Cell(number=number, values=values, seed=each) for number, (values, each) in enumerate(pairs)]


check_fields(SweepConfig, [SWEEP])
