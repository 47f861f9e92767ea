"""Gather the data of the report of stage evaluate: the run, its earlier stages, and credits of photographs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.record import FeaturesRecord
from ml.flow.exploration import Credit, Exploration
from ml.metrics.drift import DriftMetrics
from ml.metrics.estimate import Proportion, proportion
from ml.metrics.records import EvaluationMetrics
from ml.model.record import TrainingRecord, ValidationScores
from ml.release.delivery import versions
from ml.report.data import ReportData, StageTime, TrainingSummary
from ml.report.formats import figure_name
from ml.report.ledger import ledgers, left_out
from ml.report.subject import subject
from ml.stages.attribution import attribution
from ml.stages.photographs import listed_images
from ml.workflow.execution import Context
from ml.workflow.manifest import Manifest


def report_data(
    context: Context,
    metrics: EvaluationMetrics,
    figures: Mapping[str, bytes],
    shown: Iterable[str],
    drift: DriftMetrics | None = None,
) -> ReportData:
    """Gather the data of the report and the model card.

    Only the input stages featurize and train are required; the report leaves out the sections of absent stages.

    Args:
        context: Context of stage `evaluate`.
        metrics: The metrics of stage `evaluate`.
        figures: SVG and PNG files of stage `evaluate` by name.
        shown: Image ids of the faces in the contact sheets.
        drift: The drift of the data; None if there is no earlier run to compare with.
    """
    run, inputs = context.run, context.inputs
    config = TrainingConfig(**run.parameters)  # all of it, because the pages show every parameter
    dated = [delivery.name for delivery in run.deliveries if delivery.date]
    done, featurized = list(inputs.values()), inputs["featurize"]
    splits = featurized.record(FeaturesRecord).faces
    this = StageTime(name="evaluate", attempt=context.uri.rpartition("/")[2])
    return ReportData(
        run_id=run.run_id,
        config=config,
        subject=subject(config),
        metrics=metrics,
        training=_training(inputs["train"]),
        splits=splits,
        credits=_credits(inputs, shown),
        attribution=attribution(inputs),
        written=datetime.datetime.now(datetime.UTC),
        version=versions(run.deliveries),
        deliveries=dated,
        figures=figures,
        explored=_explored(inputs["explore"]) if "explore" in inputs else {},
        ledgers=ledgers({manifest.stage: manifest.ledger for manifest in done}, config.chip_class),
        left_out=left_out(featurized.ledger, splits),
        stages=[*(_time(manifest) for manifest in done), this],
        drift=drift,
    )


def _training(trained: Manifest) -> TrainingSummary:
    stated = trained.record(TrainingRecord)
    return TrainingSummary(
        attempt=trained.uri,
        parameters=stated.parameters,
        best_epoch=stated.best_epoch,
        epochs=stated.epochs,
        validation=_share(stated.validation),
        temperature=stated.temperature_choice,
        threshold=stated.threshold_choice,
        versions=trained.versions,
    )


def _share(measured: ValidationScores) -> Proportion | None:
    if measured.accuracy is None:
        return None
    # The record keeps the number of these faces, not their images, so the interval takes them as independent.
    return proportion(round(measured.accuracy * measured.faces), measured.faces)


def _explored(explore: Manifest) -> dict[str, bytes]:
    named = [(figure_name(file.path), file.path) for file in explore.files]
    return {name: storage.read_bytes(explore.file(path)) for name, path in named if name}


def _credits(inputs: Mapping[str, Manifest], shown: Iterable[str]) -> list[Credit]:
    """Return the credits of the photographs in explore's contact sheet and of those shown, as far as known."""
    explore, extract, images = inputs.get("explore"), inputs.get("extract"), set(shown)
    found: dict[str, Credit] = {}
    if explore and any(file.path == "explore.json" for file in explore.files):
        exploration = Exploration.model_validate(storage.read_json(explore.file("explore.json")))
        found = {credit.image_id: credit for credit in exploration.photographs_shown}
    if extract:
        for row in listed_images(extract, images - found.keys(), Credit.model_fields):
            found[row["image_id"]] = Credit(**row)
    return [found[image] for image in sorted(found)]


def _time(manifest: Manifest) -> StageTime:
    started, finished = (datetime.datetime.fromisoformat(t) for t in (manifest.started, manifest.finished))
    return StageTime(name=manifest.stage, attempt=manifest.attempt, finished=finished, took=finished - started)
