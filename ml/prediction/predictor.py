"""Predict the labels of faces on photographs, for both the command and the bulk job.

Chips are cut, stored and read again as in stages chip and featurize, so the network sees the same pixels as in
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config.training import FACE
from ml.errors import ConfigurationError
from ml.metrics.decision import UNKNOWN, decide, given_confidence, is_sure
from ml.metrics.promise import require_promise
from ml.model.novelty import Novelty, look, read_novelty
from ml.vision import drawing, images
from ml.workflow.manifest import load_manifest

if TYPE_CHECKING:
    from ml.model.classifier import Classifier
    from ml.model.loading import ChipClassifier


UNKNOWN_COLOR: drawing.Color = (110, 110, 110)


@dataclass(frozen=True)
class Answer:
    """The prediction for one face.

    Attributes:
        label: The predicted label, or `unknown` if the confidence is too low.
        confidence: Probability of the label that the threshold selects, even if `label` is `unknown`.
        probabilities: Probability of each label, in the model's order.
        unusual: Why the face lies outside the range of training's, of `ml.model.novelty.REASONS`; empty if it does not,
            None if that was not measured.
    """

    label: str
    confidence: float
    probabilities: tuple[float, ...]
    unusual: tuple[str, ...] | None = None


class Predictor:
    """Predicts faces with a trained model, and says `unknown` where it is unsure.

    Args:
        classifier: The model.
        min_confidence: Predictions with a lower confidence become `unknown`.
        max_risk: The tolerated share of wrong labels. If it is given, the model's promise decides, and not
            `min_confidence`.
        novelty: The range of the model's training faces; None if it is not known.

    Attributes:
        description: The model's description.
        promise: The model's promise for `max_risk`; None without one.
        min_confidence: The confidence that decides.
        novelty: As given.

    Raises:
        ConfigurationError: The model was not trained on faces, the only objects that the detector finds, or it cannot
            promise `max_risk`.
    """

    def __init__(
        self,
        classifier: ChipClassifier,
        min_confidence: float,
        max_risk: float | None = None,
        novelty: Novelty | None = None,
    ) -> None:
        self.description = classifier.description
        self.promise = None if max_risk is None else require_promise(self.description.risk, max_risk)
        self.min_confidence = self.promise.min_confidence if self.promise else min_confidence
        self.novelty = novelty
        self._classifier = classifier
        if self.description.chip_class != FACE:
            raise ConfigurationError(
                f"The model was trained on {self.description.chip_class} chips, but the detector finds faces only.",
                f"Name a model that was trained on {FACE} chips.",
            )

    def cut_chip(self, photo: images.Pixels, face: drawing.Rectangle, rotation: int = 0) -> images.Pixels:
        """Cut a face out of a photograph as the network takes it.

        Args:
            photo: RGB, upright.
            face: The face's box in pixels of the photograph.
            rotation: Degrees counterclockwise, 0, 90, 180 or 270, that make the face upright.

        Returns:
            uint8, shape (chip_size, chip_size, 3).
        """
        height, width = photo.shape[:2]
        left, top, right, bottom = face
        box = (left / width, right / width, top / height, bottom / height)
        stored = images.encode_jpeg(images.cut_chip(photo, box, self.description.margin, rotation))
        return images.decode_chip(stored, self.description.chip_size)

    def answer(self, chips: Sequence[images.Pixels], faces: Sequence[drawing.Rectangle]) -> list[Answer]:
        """Predict chips, which may come from several photographs.

        Args:
            chips: The faces as the network takes them; may be none.
            faces: Their boxes in pixels of their photographs.
        """
        if not len(chips):
            return []  # TensorFlow fails to run some networks on an empty batch
        pixels = np.stack(chips)
        labels, threshold = self.description.labels, self.description.threshold
        if self.novelty is None:
            return answers_of(self._classifier.predict(pixels), labels, threshold, self.min_confidence)
        probabilities, features = self._classifier.predict_with_features(pixels)
        answers = answers_of(probabilities, labels, threshold, self.min_confidence)
        face_px = np.array([min(right - left, bottom - top) for left, top, right, bottom in faces], float)
        reasons = self.novelty.reasons(look(pixels, face_px, self.description.margin), features)
        return [replace(answer, unusual=unusual) for answer, unusual in zip(answers, reasons, strict=True)]


class ExplainingPredictor(Predictor):
    """Predicts faces, and shows where the network looked, for which it needs the network itself.

    Args:
        classifier: The model, in Keras.
        min_confidence: Predictions with a lower confidence become `unknown`.
        max_risk: As for `Predictor`.
        novelty: As for `Predictor`.
    """

    def __init__(
        self,
        classifier: Classifier,
        min_confidence: float,
        max_risk: float | None = None,
        novelty: Novelty | None = None,
    ) -> None:
        super().__init__(classifier, min_confidence, max_risk, novelty)
        self._network = classifier.network

    def explain(self, chips: Sequence[images.Pixels], answers: Sequence[Answer]) -> NDArray[np.float32]:
        """Compute where on each chip the network looked for the label that the threshold selects (Grad-CAM).

        Args:
            chips: At least one chip.
            answers: The predictions of these chips.

        Returns:
            0 to 1, shape (n, h, w) of the network's last feature map.
        """
        from ml.model.grad_cam import grad_cam

        probabilities = np.array([answer.probabilities for answer in answers], np.float32)
        selected = decide(probabilities, self.description.threshold)
        return grad_cam(self._network, np.stack(chips), selected)


def answers_of(
    probabilities: NDArray[np.floating], labels: Sequence[str], threshold: float, min_confidence: float
) -> list[Answer]:
    """Return the predictions for probabilities.

    Args:
        probabilities: Shape (n, 2), in the order of `labels`.
        labels: The two labels.
        threshold: The second label is predicted where its probability is at least this.
        min_confidence: Predictions with a lower confidence become `unknown`.
    """
    predicted = decide(probabilities, threshold)
    confidences = given_confidence(probabilities, predicted)
    rows = zip(predicted, confidences, is_sure(confidences, min_confidence), probabilities, strict=True)
    return [
        Answer(labels[index] if sure else UNKNOWN, float(confidence), tuple(float(p) for p in row))
        for index, confidence, sure, row in rows
    ]


def annotate(
    photo: images.Pixels, faces: Sequence[drawing.Rectangle], answers: Sequence[Answer], labels: Sequence[str]
) -> images.Pixels:
    """Draw faces with their labels and confidences on a copy of a photograph."""
    colors = dict(zip(labels, drawing.PALETTE, strict=False)) | {UNKNOWN: UNKNOWN_COLOR}
    marks = [
        drawing.Mark(face, describe(answer), colors[answer.label]) for face, answer in zip(faces, answers, strict=True)
    ]
    return drawing.draw_marks(photo, marks)


def describe(answer: Answer) -> str:
    """Return a prediction as text: `female 93%`, or just `unknown`, whose percentage would be misleading."""
    if answer.label == UNKNOWN:
        return UNKNOWN
    return f"{answer.label} >99%" if answer.confidence > 0.99 else f"{answer.label} {answer.confidence:.0%}"


def unusual_text(answer: Answer) -> str | None:
    """Return why a face lies outside the range of training's, as the tables hold it: `brightness,size`."""
    return None if answer.unusual is None else ",".join(answer.unusual)


def load_predictor(attempt: str, min_confidence: float, max_risk: float | None = None) -> Predictor:
    """Load a trained model for prediction.

    Raises:
        DataError: There is no such model, or it is damaged.
        ConfigurationError: The model was not trained on faces, or cannot promise `max_risk`.
    """
    from ml.model.classifier import Classifier  # imported late, because it imports TensorFlow

    manifest = load_manifest(attempt)
    return Predictor(Classifier.load(manifest), min_confidence, max_risk, read_novelty(manifest))


def load_explaining_predictor(
    attempt: str, min_confidence: float, max_risk: float | None = None
) -> ExplainingPredictor:
    """Load a trained model that also shows where it looked.

    Raises:
        DataError: There is no such model, or it is damaged.
        ConfigurationError: The model was not trained on faces, or cannot promise `max_risk`.
    """
    from ml.model.classifier import Classifier  # imported late, because it imports TensorFlow

    manifest = load_manifest(attempt)
    return ExplainingPredictor(Classifier.load(manifest), min_confidence, max_risk, read_novelty(manifest))


def load_quick_predictor(attempt: str, min_confidence: float, max_risk: float | None = None) -> Predictor:
    """Load a trained model for a few photographs: on ONNX Runtime, which starts in a fraction of TensorFlow's time.

    Raises:
        DataError: There is no such model, or it is damaged.
        ConfigurationError: The model was not trained on faces, or cannot promise `max_risk`.
    """
    from ml.model.onnx_classifier import load_quickly

    manifest = load_manifest(attempt)
    return Predictor(load_quickly(manifest), min_confidence, max_risk, read_novelty(manifest))


@cache
def worker_predictor(attempt: str, min_confidence: float) -> Predictor:
    """Return the predictor of a Spark Python worker, loaded once per process.

    There is one worker process per core, so TensorFlow and OpenCV get one thread each.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    return load_predictor(attempt, min_confidence)
