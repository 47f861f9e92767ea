"""How a prediction finds faces: detector, smallest face, and the file of a detector that needs one. Loads no OpenCV."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from ml import storage
from ml.config.parameter import validate
from ml.config.prediction import WITH_FILE, PredictionConfig
from ml.errors import ConfigurationError


@dataclass(frozen=True)
class Finding:
    """How to find faces.

    Attributes:
        detector: The detector's name in `ml.vision.detectors.table`.
        min_face: See `ml.vision.detection.FaceFinder`.
        file: Path or URI of the detector's file, if it needs one.
    """

    detector: str
    min_face: int | None = None
    file: str | None = None

    @classmethod
    def of(cls, config: PredictionConfig) -> Self:
        """Return what a configuration says."""
        file = config.detector_file if config.detector in WITH_FILE else None
        return cls(config.detector, config.min_face, file)


DEFAULT = Finding.of(PredictionConfig())


def choose_finding(defaults: PredictionConfig, detector: str | None, min_face: int | None, file: str | None) -> Finding:
    """Return how to find faces by a command's options, each of which overrides the deployment's default.

    Raises:
        ConfigurationError: There is no such detector, it needs a file, or `min_face` is out of bounds.
    """
    given = {"detector": detector, "min_face": min_face, "detector_file": file}
    values = {name: value for name, value in given.items() if value is not None}
    return Finding.of(validate(values, defaults))


def read_detector_file(uri: str) -> bytes:
    """Read the file of a detector.

    Raises:
        ConfigurationError: There is no such file, or it cannot be read.
    """
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        raise ConfigurationError(
            f"The detector's file {uri} cannot be read.", "Correct the parameter `detector_file`."
        ) from error


def file_digest(uri: str | None) -> str:
    """Return the SHA-256 of a detector's file; empty without one.

    Raises:
        ConfigurationError: There is no such file, or it cannot be read.
    """
    return hashlib.sha256(read_detector_file(uri)).hexdigest() if uri else ""
