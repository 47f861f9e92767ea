"""Load the finder of faces that a prediction uses, and say what it does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from ml.prediction.finding import Finding, read_detector_file
from ml.prediction.record import DetectorRecord
from ml.vision.detection import FaceFinder
from ml.vision.detectors.table import DETECTORS, Detector


@cache
def load_finder(finding: Finding, box_aspect: float | None) -> FaceFinder:
    """Load a detector, once per process.

    Args:
        finding: How to find faces.
        box_aspect: The shape of the boxes that the model was trained on, see `ml.model.description`.

    Raises:
        ConfigurationError: Its package is not installed, or its file is missing or wrong.
    """
    file = (finding.file, read_detector_file(finding.file)) if finding.file else None
    return FaceFinder(_detector(finding, box_aspect), finding.min_face, file)


def detector_record(finding: Finding, box_aspect: float | None) -> DetectorRecord:
    """Return how faces are found, as manifests hold it; the arguments are those of `load_finder`."""
    box_map = _detector(finding, box_aspect).box_map.describe()
    return DetectorRecord(name=finding.detector, min_face=finding.min_face, box_map=box_map)


def _detector(finding: Finding, box_aspect: float | None) -> Detector:
    row = DETECTORS[finding.detector]
    return replace(row, box_map=row.box_map.shaped(box_aspect))
