"""Monitoring: how far the faces and answers of a bulk prediction differ from those that the model was trained with.

Nobody knows the right answers of a bulk prediction. What can be seen is whether its faces are of another size or
brightness than those of the training, and whether the model answers with other labels or less confidence than on the
test split, where its accuracy is known. If so, that accuracy says little about these photographs.
"""

from __future__ import annotations

from ml.features.histograms import EDGES
from ml.flow.profile import DataProfile
from ml.flow.record import Record
from ml.metrics.drift import differences
from ml.metrics.shift import Level, Shift, highest

ANSWERS, CONFIDENCE, FACE_PX, BRIGHTNESS = "answers", "confidence", "face_px", "brightness"
MONITORED_EDGES: dict[str, tuple[float, ...]] = {**EDGES, CONFIDENCE: tuple(0.5 + step / 100 for step in range(1, 50))}


class MonitoringMetrics(Record):
    """What `monitoring.json` holds.

    Attributes:
        current: The profile of the prediction's faces and answers.
        reference: That of the model's training and evaluation; None if neither is there any more.
        shifts: How far each distribution differs; without those that the reference lacks.
        level: The highest level of them.
        missing: What could not be compared, in one sentence; empty if nothing is missing.
    """

    current: DataProfile
    reference: DataProfile | None
    shifts: tuple[Shift, ...]
    level: Level
    missing: str


class MonitoringRecord(Record):
    """The record of stage monitor.

    Attributes:
        faces: Number of faces of the prediction.
        level: The highest level of all differences.
        line: One line about them.
        shifts: How far each distribution differs.
        missing: What could not be compared.
        report: URI of `monitoring.html`.
        metrics: URI of `monitoring.json`.
    """

    faces: int
    level: Level
    line: str
    shifts: tuple[Shift, ...]
    missing: str
    report: str
    metrics: str


def compare_answers(reference: DataProfile | None, current: DataProfile, missing: str) -> MonitoringMetrics:
    """Compare a prediction with the training of its model.

    Args:
        reference: The profile of the training; None if there is none.
        current: The profile of the prediction.
        missing: What the reference lacks, and why.
    """
    shifts = differences(reference, current, whole=False).shifts if reference else ()
    return MonitoringMetrics(
        current=current,
        reference=reference,
        shifts=shifts,
        level=highest([shift.level for shift in shifts]),
        missing=missing,
    )
