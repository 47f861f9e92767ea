"""Stage monitor: compares the faces and answers of a bulk prediction with those of the model's training.

It writes the files `monitoring.json` and `monitoring.html`. It reads the table `faces` in batches, so any number
of faces fits into memory.
"""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from numpy.typing import NDArray

from ml import storage
from ml.config.prediction import PredictionConfig
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.record import FeaturesRecord
from ml.flow.profile import DataProfile, Histogram
from ml.metrics.decision import decide, given_confidence
from ml.metrics.monitoring import (
    ANSWERS,
    BRIGHTNESS,
    CONFIDENCE,
    FACE_PX,
    MONITORED_EDGES,
    MonitoringRecord,
    compare_answers,
)
from ml.metrics.records import EvaluationRecord
from ml.prediction.record import PredictionsRecord
from ml.report.data import MonitoringData
from ml.report.drift import monitoring_line
from ml.report.figures.drift import draw_drift
from ml.report.html import render_monitoring
from ml.report.subject import subject_of
from ml.workflow.execution import FlowContext, Result
from ml.workflow.manifest import Manifest, load_manifest

log = logging.getLogger(__name__)
REPORT, METRICS = "monitoring.html", "monitoring.json"


class Counts:
    """Counts answers and values batch by batch.

    Args:
        labels: The labels, in the order of the model's outputs.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.answers: Counter[str] = Counter(dict.fromkeys(labels, 0))
        self.bins: dict[str, NDArray[np.int64]] = {}

    def add(self, column: str, values: NDArray[np.floating]) -> None:
        """Count the values of a column in the bins of its histogram."""
        edges = MONITORED_EDGES[column]
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        self.bins[column] = self.bins.get(column, np.zeros(len(edges) + 1, np.int64)) + counts

    def add_answers(self, second: NDArray[np.floating], threshold: float) -> None:
        """Count the labels that a threshold selects, and their probabilities.

        Args:
            second: The second label's probability of each face.
            threshold: The second label is selected where its probability is at least this.
        """
        probabilities = np.stack([1 - second, second], axis=1)
        selected = decide(probabilities, threshold)
        self.answers.update({label: int((selected == index).sum()) for index, label in enumerate(self.labels)})
        self.add(CONFIDENCE, given_confidence(probabilities, selected))

    def profile(self, run_id: str, histograms: dict[str, Histogram] | None = None) -> DataProfile:
        """Return what was counted, with further histograms."""
        own = {
            name: Histogram(edges=MONITORED_EDGES[name], counts=tuple(counts.tolist()))
            for name, counts in self.bins.items()
        }
        return DataProfile(
            run_id=run_id,
            as_of="",
            deliveries={},
            settings={},
            rows={},
            categories={ANSWERS: dict(self.answers)} if self.answers.total() else {},
            histograms={**own, **(histograms or {})},
        )


def monitor(context: FlowContext[PredictionConfig]) -> Result:
    """Compare a prediction with the training and the evaluation of its model, as far as they are still there."""
    predicted = context.inputs["predict"]
    record = predicted.record(PredictionsRecord)
    current = _of_prediction(predicted, record).profile(context.run.run_id)
    reference, missing = _of_training(record, context.run.sources["evaluation"])
    found = compare_answers(reference, current, missing)
    line = monitoring_line(found)
    log.log(logging.INFO if found.level == "none" else logging.WARNING, line)
    plain = TrainingConfig()
    data = MonitoringData(
        run_id=context.run.run_id,
        subject=subject_of(plain.chip_class, plain.labels) if record.labels == list(plain.labels) else None,
        written=datetime.datetime.now(datetime.UTC),
        found=found,
        line=line,
        model=record.model,
        figures=draw_drift(reference, current) if reference else {},
    )
    storage.write_json(context.path(METRICS), found.json_values())
    storage.write_bytes(context.path(REPORT), render_monitoring(data).encode())
    return Result(
        MonitoringRecord(
            faces=sum(record.faces.values()),
            level=found.level,
            line=line,
            shifts=found.shifts,
            missing=found.missing,
            report=context.path(REPORT),
            metrics=context.path(METRICS),
        )
    )


def _of_prediction(predicted: Manifest, record: PredictionsRecord) -> Counts:
    """Count the faces of a prediction."""
    counts = Counts(record.labels)
    second = f"probability_{record.labels[1]}"
    columns = ["left", "top", "right", "bottom", BRIGHTNESS, second]
    for batch in _batches(predicted.table("faces"), columns):
        values = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
        sides = (values["right"] - values["left"], values["bottom"] - values["top"])
        counts.add(FACE_PX, np.minimum(*sides).astype(float))
        counts.add(BRIGHTNESS, values[BRIGHTNESS])
        counts.add_answers(values[second], record.threshold)
    return counts


def _of_training(record: PredictionsRecord, evaluation: str) -> tuple[DataProfile | None, str]:
    """Return the profile of the model's training, and what it lacks.

    Face size and brightness are those of all faces that became features; answers and confidence are those on the test
    split, which the model has not seen.
    """
    missing = []
    counts, histograms, run_id = Counts(record.labels), {}, "training"
    try:
        features = load_manifest(load_manifest(record.model).inputs["featurize"]).record(FeaturesRecord)
        histograms = {name: features.histograms[name] for name in (FACE_PX, BRIGHTNESS) if name in features.histograms}
    except (DataError, FileNotFoundError) as error:
        log.warning("no features to compare with: %s", error)
    if len(histograms) < 2:
        missing.append("face size and brightness, because the features of the training are gone or of an older version")
    try:
        if evaluation:
            tested = load_manifest(evaluation).record(EvaluationRecord)
            for batch in _batches([tested.predictions], ["probability"]):
                counts.add_answers(batch.column(0).to_numpy(zero_copy_only=False), record.threshold)
    except (DataError, FileNotFoundError) as error:
        log.warning("no evaluation to compare with: %s", error)
    if not counts.answers.total():
        missing.append("answers and confidence, because the model was not evaluated or its evaluation is gone")
    sentence = f"Not compared: {'; '.join(missing)}." if missing else ""
    if not histograms and not counts.answers.total():
        return None, sentence
    return counts.profile(run_id, histograms), sentence


def _batches(uris: Sequence[str], columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a table's Parquet files in batches."""
    places = [storage.filesystem(uri) for uri in uris]
    if places:
        files = pyarrow.dataset.dataset([path for _, path in places], filesystem=places[0][0], format="parquet")
        yield from files.to_batches(columns=columns)
