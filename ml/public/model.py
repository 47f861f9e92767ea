"""A trained model: what it is, what it predicts, and its version in the registry."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml import storage
from ml.config.prediction import DETECTOR_NAMES
from ml.model.description import Description
from ml.model.record import EpochRow, TrainingRecord
from ml.tracking.registry import Version
from ml.workflow.manifest import Manifest

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from ml.model.loading import ChipClassifier

__all__ = ["Face", "Model"]


@dataclass(frozen=True)
class Face:
    """A face on a photograph.

    Attributes:
        box: Left, top, right and bottom in pixels of the upright photograph; right and bottom are exclusive.
        label: The predicted label, or `unknown` if the confidence is too low.
        confidence: Probability of the label that the model's threshold selects, in [0, 1].
        probabilities: Probability of each label by name.
        unusual: Why the face lies outside the range of the training faces: `brightness`, `size`, `sharpness` or
            `features`; empty if it does not, None for a model that cannot tell.
    """

    box: tuple[int, int, int, int]
    label: str
    confidence: float
    probabilities: dict[str, float]
    unusual: tuple[str, ...] | None = None


class Model:
    """A trained model.

    Args:
        manifest: The manifest of its attempt of stage train.
        version: Its version in the registry, if it has one.

    Attributes:
        uri: The attempt folder, which names the model everywhere.
        version: Its version in the registry: number, accuracy and the last decision about it. None if it has none.
    """

    def __init__(self, manifest: Manifest, version: Version | None = None) -> None:
        self.uri = manifest.uri
        self.version = version
        self._manifest = manifest

    def __repr__(self) -> str:
        return f"<Model {self.version.title if self.version else self.uri}>"

    @functools.cached_property
    def description(self) -> Description:
        """Its labels, chip size, margin, network, temperature and threshold."""
        from ml.model.loading import read_description  # loads OpenCV

        return read_description(self._manifest)

    @property
    def training(self) -> TrainingRecord:
        """What the training recorded: best epoch, validation scores, duration."""
        return self._manifest.record(TrainingRecord)

    @property
    def history(self) -> list[EpochRow]:
        """The training's epochs, with losses and accuracies."""
        return [EpochRow.model_validate(row) for row in storage.read_json(self._manifest.file("history.json"))]

    def predict(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the probability of each label for each chip.

        Args:
            chips: uint8 RGB, shape (n, chip_size, chip_size, 3), as the column `pixels` of the table `features` holds
                them.

        Returns:
            float32, shape (n, labels), in the order of `description.labels`.

        Raises:
            PreprocessingError: The chips have another type or size, or were scaled.
        """
        return self._classifier.predict(chips)

    def predict_photograph(
        self,
        path: str | Path,
        min_confidence: float = 0.75,
        max_risk: float | None = None,
        detector: str = DETECTOR_NAMES[0],
        min_face: int | None = None,
        detector_file: str | None = None,
    ) -> list[Face]:
        """Find the faces on a photograph and predict each one's label, as perceived by annotators.

        Args:
            path: A JPEG or PNG file.
            min_confidence: Predictions with a lower confidence become `unknown`; 0.5 to 0.999.
            max_risk: The tolerated share of wrong labels among those given, which then decides instead of
                `min_confidence`; the model's promise holds it with 95% confidence.
            detector: What finds the faces; docs/detection.md compares the detectors.
            min_face: Side in pixels of the smallest face to look for; None: a sixteenth of the longer side.
            detector_file: Path or URI of the detector's file, for a detector that needs one.

        Raises:
            DataError: There is no such file, or it is no photograph.
            ConfigurationError: The model was not trained on faces, a value is out of bounds, there is no such detector,
                the model cannot promise `max_risk`, or the detector's file is missing or wrong.
        """
        from ml.config.parameter import validate
        from ml.config.prediction import PredictionConfig
        from ml.model.novelty import read_novelty
        from ml.prediction.finder import load_finder
        from ml.prediction.finding import Finding
        from ml.prediction.photos import read_photo
        from ml.prediction.predictor import Predictor

        values = {
            **{"min_confidence": min_confidence, "max_risk": max_risk},
            **{"detector": detector, "min_face": min_face, "detector_file": detector_file},
        }
        config = validate(values, PredictionConfig())
        predictor = Predictor(self._classifier, config.min_confidence, config.max_risk, read_novelty(self._manifest))
        photo = read_photo(Path(path))
        finder = load_finder(Finding.of(config), self.description.box_aspect)
        found = finder.detect(photo)
        boxes = [face.rectangle() for face in found]
        chips = [predictor.cut_chip(photo, face.rectangle(), face.rotation) for face in found]
        answers = predictor.answer(chips, boxes)
        labels = self.description.labels
        return [
            Face(
                box,
                answer.label,
                answer.confidence,
                dict(zip(labels, answer.probabilities, strict=True)),
                answer.unusual,
            )
            for box, answer in zip(boxes, answers, strict=True)
        ]

    def keras(self) -> keras.Model:
        """Load the Keras network, which takes the chips that `predict` takes; this imports TensorFlow."""
        from ml.model.classifier import Classifier

        return Classifier.load(self._manifest).network

    @functools.cached_property
    def _classifier(self) -> ChipClassifier:
        from ml.model.onnx_classifier import load_quickly

        return load_quickly(self._manifest)
