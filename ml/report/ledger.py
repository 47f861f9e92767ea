"""Ledgers and parameters of a run, for the report and the web page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.config.training import TrainingConfig
from ml.flow.table import STAGES


@dataclass(frozen=True)
class LedgerTable:
    """What became of the faces in one stage.

    Attributes:
        stage: The stage.
        title: What is counted.
        kept: The row that goes on to the next stage.
        rows: Outcomes and their counts, the kept one first.
        total: Their sum.
    """

    stage: str
    title: str
    kept: str
    rows: tuple[tuple[str, int], ...]
    total: int


@dataclass(frozen=True)
class ParameterRow:
    """A parameter of a run.

    Attributes:
        section: The section of the form.
        title: For people.
        name: Of the field.
        value: As text.
    """

    section: str
    title: str
    name: str
    value: str


def ledgers(counts: Mapping[str, Mapping[str, int]], chip_class: str) -> list[LedgerTable]:
    """Return each ledger of a run with its total and its rows, the one that goes on to the next stage first.

    Args:
        counts: The ledger that each stage states, by the stage's name; a stage that is absent has none.
        chip_class: Open Images class whose boxes are cut out.
    """
    return [
        LedgerTable(
            stage=stage.name,
            title=stage.ledger.title.format(chip_class=chip_class),
            kept=kept,
            rows=tuple(sorted(counts[stage.name].items(), key=lambda row: (row[0] != kept, -row[1]))),
            total=sum(counts[stage.name].values()),
        )
        for stage in STAGES.values()
        if stage.ledger and stage.name in counts and (kept := stage.ledger.kept)
    ]


def parameters(values: Mapping[str, Any]) -> list[ParameterRow]:
    """Return every parameter of a run of the training flow.

    Args:
        values: The run's configuration as JSON values; a parameter that it lacks, an older run's, is left out.
    """
    rows = []
    for name, field in TrainingConfig.model_fields.items():
        if name not in values:
            continue
        value = values[name]
        if name == "labels":
            value = "; ".join(f"{label}: {', '.join(classes)}" for label, classes in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        section = field.json_schema_extra["section"]  # type: ignore[index]
        text = "" if value is None else str(value)
        rows.append(ParameterRow(section=str(section), title=field.title or name, name=name, value=text))
    return rows
