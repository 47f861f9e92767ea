"""Ledgers and parameters of a run, for the report and the web page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ml.config.training import TrainingConfig
from ml.flow.table import STAGES


@dataclass(frozen=True)
class LedgerTable:
    """What became of the faces in one stage.

    Attributes:
        stage: Name of the stage.
        title: What the ledger counts.
        kept: The outcome that is passed to the next stage.
        rows: Outcomes and their counts, the kept outcome first.
        total: Sum of the counts.
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
        section: The parameter's section of the form.
        title: The title in the form.
        name: The name of the field.
        value: The value as text.
    """

    section: str
    title: str
    name: str
    value: str


def ledgers(counts: Mapping[str, Mapping[str, int]], chip_class: str) -> list[LedgerTable]:
    """Return each ledger of a run with its total and its rows, the row passed to the next stage first.

    Args:
        counts: The ledger of each stage by the stage's name; absent stages, and some others, have no ledger.
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
        if stage.ledger and counts.get(stage.name) and (kept := stage.ledger.kept)
    ]


def left_out(ledger: Mapping[str, int], splits: Collection[str]) -> dict[str, int]:
    """Return the outcomes in featurize's ledger other than the splits."""
    return {reason: count for reason, count in ledger.items() if reason not in splits}


def parameters(values: Mapping[str, Any]) -> list[ParameterRow]:
    """Return the parameters of a run of the training flow.

    Args:
        values: The run's configuration as JSON values; parameters that it lacks, as an older run may, are left out.
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
