"""The record of stage predict, and the names of the photographs that it annotates."""

from __future__ import annotations

import hashlib
import posixpath

from ml.flow.record import Record
from ml.metrics.promise import Promise

SAMPLE = "sample"  # the folder of annotated photographs in the attempt


def sample_name(photo: str) -> str:
    """Return the name of a photograph's annotated copy, unique across the folders of photographs."""
    stem = posixpath.splitext(posixpath.basename(photo))[0]
    return f"{hashlib.sha256(photo.encode()).hexdigest()[:8]}-{stem}.jpg"


class UnusualFaces(Record):
    """The faces outside the range of the model's training faces.

    Attributes:
        faces: Their number.
        by_reason: Their number by reason of `ml.model.novelty.REASONS`; a face may have several.
    """

    faces: int
    by_reason: dict[str, int]


class DetectorRecord(Record):
    """How the faces of a prediction were found.

    Attributes:
        name: The detector's name in `ml.vision.detectors.table`.
        min_face: Side in pixels of the smallest face that was looked for; None: a share of each photograph.
        box_map: How its boxes were made those of training, and what that was fitted on.
    """

    name: str
    min_face: int | None
    box_map: str


class PredictionsRecord(Record):
    """The record that stage predict writes to its manifest.

    Attributes:
        photographs: Number of photographs listed.
        photograph_warnings: Number of photographs that were decoded although the decoder warned of an oddity.
        faces: Number of faces by predicted label, including `unknown`.
        labels: The labels, in the order of the model's outputs.
        meaning: What the labels stand for.
        threshold: The second label is predicted where its probability is at least this.
        min_confidence: Predictions with a lower confidence are `unknown`; None in attempts of older versions.
        promise: The promise that `min_confidence` is from; None if the run set it.
        model: URI of the model's attempt.
        detector: How faces were found; None in records of older versions.
        sample: URI of the folder of annotated photographs.
        unusual: The faces outside the range of training's; None if the model does not know it.
    """

    photographs: int
    photograph_warnings: int = 0
    faces: dict[str, int]
    labels: list[str]
    meaning: str
    threshold: float
    min_confidence: float | None = None
    promise: Promise | None = None
    model: str
    detector: DetectorRecord | None = None
    sample: str
    unusual: UnusualFaces | None = None
