"""Load the finder of faces that a prediction uses, and say what it does."""

from __future__ import annotations

from functools import cache

from ml.prediction.finding import Finding, read_detector_file
from ml.prediction.record import DetectorRecord
from ml.vision.detection import FaceFinder
from ml.vision.detectors.table import DETECTORS


@cache
def load_finder(finding: Finding) -> FaceFinder:
    """Load a detector, once per process.

    Raises:
        ConfigurationError: Its package is not installed, or its file is missing or wrong.
    """
    file = (finding.file, read_detector_file(finding.file)) if finding.file else None
    return FaceFinder(DETECTORS[finding.detector], finding.min_face, file)


def detector_record(finding: Finding) -> DetectorRecord:
    """Return how faces are found as manifests hold it."""
    box_map = DETECTORS[finding.detector].box_map.describe()
    return DetectorRecord(name=finding.detector, min_face=finding.min_face, box_map=box_map)
