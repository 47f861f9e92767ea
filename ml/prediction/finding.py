"""How a prediction finds faces: detector, smallest face, and the file of a detector that needs one. Loads no OpenCV."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from ml import storage
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
