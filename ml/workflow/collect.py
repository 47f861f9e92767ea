"""Merge the parts of a stage done by delivery into one attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml.flow.stage import Stage
from ml.workflow import layout
from ml.workflow.manifest import Manifest, versions


def combine(
    stage: Stage,
    key: str,
    uri: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    parts: Mapping[str, Manifest],
) -> Manifest:
    """Return the manifest of an attempt that refers to the parts of a stage done by delivery.

    Args:
        stage: The stage.
        key: The key of all deliveries together.
        uri: The attempt's folder.
        config: The values of the stage's fields.
        inputs: The attempt of each input stage, by the stage's name.
        parts: The manifest of each delivery's part, by the delivery's name, oldest first.
    """
    return Manifest(
        stage=stage.name,
        version=stage.version,
        key=key,
        attempt=layout.attempt_name(uri),
        uri=uri,
        config=config,
        inputs=inputs,
        sources={},
        files=[],
        metrics=_merged([part.metrics for part in parts.values()]),
        ledger=_merged([part.ledger for part in parts.values()]),
        versions=versions(),
        started=min(part.started for part in parts.values()),
        finished=max(part.finished for part in parts.values()),
        parts={name: part.uri for name, part in parts.items()},
    )


def _merged(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the values of several deliveries: sum numbers, join lists without duplicates, else keep the first value."""
    merged: dict[str, Any] = {}
    for value in values:
        for name, new in value.items():
            old = merged.get(name)
            if old is None:
                merged[name] = new
            elif isinstance(new, dict):
                merged[name] = _merged([old, new])
            elif isinstance(new, list):
                merged[name] = [*old, *(item for item in new if item not in old)]
            elif isinstance(new, int | float) and not isinstance(new, bool):
                merged[name] = old + new
    return merged
