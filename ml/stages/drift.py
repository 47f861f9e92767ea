"""Describe the data of a run from the records of its stages, without reading any data, and look for drift."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from ml import storage
from ml.features.record import FeaturesRecord
from ml.flow.exploration import ExploreRecord
from ml.flow.profile import DataProfile
from ml.flow.records import ExtractRecord, LabelsRecord
from ml.flow.table import STAGES
from ml.metrics.drift import DriftMetrics, added, measure_drift
from ml.metrics.records import DriftSummary
from ml.report.drift import drift_line
from ml.report.figures.drift import draw_drift
from ml.workflow import layout
from ml.workflow.execution import Context
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)
METRICS = "drift.json"

# Parameters of the stages up to the features; these two do not change what the data are.
WITHOUT_EFFECT = ("max_fault_share", "seed")
SETTINGS = sorted(
    {field for name in ("extract", "join_labels", "chip", "featurize") for field in STAGES[name].fields}
    - set(WITHOUT_EFFECT)
)


def look_for_drift(context: Context) -> tuple[DriftMetrics | None, dict[str, bytes]]:
    """Write the profile of a run's data; return how far they have drifted from the reference's, and the figures.

    Returns:
        None and no figures if the run has no reference.
    """
    profile = data_profile(context)
    storage.write_json(layout.profile_uri(context.uri), profile.json_values())
    reference = context.run.reference()
    if reference is None:
        return None, {}
    drift = measure_drift(reference.profile, profile, reference.champion)
    storage.write_json(context.path(METRICS), drift.json_values())
    log.log(logging.INFO if drift.level == "none" else logging.WARNING, drift_line(drift))
    return drift, draw_drift(reference.profile, profile, added(reference.profile, profile))


def drift_summary(context: Context, drift: DriftMetrics) -> DriftSummary:
    """Return what the record of the stage says about drift."""
    return DriftSummary(run_id=drift.run_id, level=drift.level, line=drift_line(drift), metrics=context.path(METRICS))


def data_profile(context: Context) -> DataProfile:
    """Return the profile of a run's data; it lacks what the stages that the run has not done would tell."""
    run, inputs = context.run, context.inputs
    features = inputs["featurize"].record(FeaturesRecord)
    categories = {
        "labels": dict(sum((Counter(faces) for faces in features.faces.values()), Counter())),
        "splits": {split: sum(faces.values()) for split, faces in features.faces.items()},
        **_ledgers(inputs),
    }
    if "explore" in inputs:
        classes = inputs["explore"].record(ExploreRecord).top_classes
        categories["classes"] = {found.name: found.positive for found in classes}
    if "join_labels" in inputs and (agreement := _agreement(inputs["join_labels"], context)):
        categories["agreement"] = agreement
    return DataProfile(
        run_id=run.run_id,
        as_of=run.as_of,
        deliveries={delivery.name: f"{delivery.tables} {delivery.photographs}" for delivery in run.deliveries},
        settings={name: run.parameters[name] for name in SETTINGS if name in run.parameters},
        rows=inputs["extract"].record(ExtractRecord).rows if "extract" in inputs else {},
        categories=categories,
        histograms=features.histograms,
    )


def _ledgers(inputs: Mapping[str, Manifest]) -> dict[str, dict[str, int]]:
    names = {"join_labels": "outcomes", "chip": "chips"}
    return {name: dict(inputs[stage].ledger) for stage, name in names.items() if stage in inputs}


def _agreement(joined: Manifest, context: Context) -> dict[str, int]:
    """Return how many of the run's labels agree with MIAP's; nothing if MIAP is not available."""
    counts: Counter[str] = Counter()
    strategy = str(context.run.parameters["label_strategy"])
    for by_strategy in (joined.record(LabelsRecord).miap or {}).values():
        if found := by_strategy.get(strategy):
            counts.update({"agree": found.agree, "disagree": found.disagree})
    return dict(counts) if counts.total() else {}
