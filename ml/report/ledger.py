"""What is told of a run wherever it is shown: where its faces went, and with which parameters it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml.config.training import TrainingConfig
from ml.flow.stage import Ledger
from ml.flow.table import STAGES

if TYPE_CHECKING:
    from ml.workflow.manifest import Manifest


def ledgers(pins: Mapping[str, Manifest], chip_class: str) -> list[dict[str, Any]]:
    """Each ledger of a run with its total and its rows, the one that goes on to the next stage first.

    Args:
        pins: The manifests of the run's stages, by name; a stage that is absent has no ledger.
        chip_class: Open Images class whose boxes are cut out.
    """
    return [
        _ledger(stage.name, stage.ledger, pins[stage.name].ledger, chip_class)
        for stage in STAGES.values()
        if stage.ledger and stage.name in pins
    ]


def _ledger(stage: str, ledger: Ledger, counts: Mapping[str, int], chip_class: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "title": ledger.title.format(chip_class=chip_class),
        "kept": ledger.kept,
        "rows": sorted(counts.items(), key=lambda row: (row[0] != ledger.kept, -row[1])),
        "total": sum(counts.values()),
    }


def parameters(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every parameter of a run of the training flow: its section, title, name and value as text.

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
        rows.append({"section": str(section), "title": field.title or name, "name": name, "value": text})
    return rows
