"""From faces on a photograph to answers: the one way by which the command and the bulk job predict.

A chip is cut, stored and read again as stage chip and stage featurize do it, so that the network sees what it learned
from, to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config.training import FACE
from ml.errors import ConfigurationError
from ml.metrics.decision import UNKNOWN, decide, given_confidence, is_sure
from ml.vision import drawing, images

if TYPE_CHECKING:
    from ml.model.classifier import Classifier


UNKNOWN_COLOR: drawing.Color = (110, 110, 110)


@dataclass(frozen=True)
class Answer:
    """What is said of one face.

    Attributes:
        label: The label that it is given, or `unknown` where the model is not sure enough.
        confidence: Probability of the label that the model would give, unsure or not.
        probabilities: Of each label, in the model's order.
    """

    label: str
    confidence: float
    probabilities: tuple[float, ...]


class Predictor:
    """Answers for faces, by a trained model and a least confidence.

    Args:
        classifier: The model.
        min_confidence: Below this probability of the label that a face would be given, it is `unknown`.

    Raises:
        ConfigurationError: The model was not trained on faces, which are what is found on photographs.
    """

    def __init__(self, classifier: Classifier, min_confidence: float) -> None:
        self.description = classifier.description
        self.min_confidence = min_confidence
        self._classifier = classifier
        if self.description.chip_class != FACE:
            raise ConfigurationError(
                f"The model was trained on {self.description.chip_class} chips, but here faces are found.",
                f"Name a model that was trained on {FACE} chips.",
            )

    def cut_chip(self, photo: images.Pixels, face: drawing.Rectangle) -> images.Pixels:
        """A face as the network takes it.

        Args:
            photo: RGB, upright.
            face: In pixels of the photograph.

        Returns:
            uint8, shape (chip_size, chip_size, 3).
        """
        height, width = photo.shape[:2]
        left, top, right, bottom = face
        box = (left / width, right / width, top / height, bottom / height)
        stored = images.encode_jpeg(images.cut_chip(photo, box, self.description.margin))
        return images.decode_chip(stored, self.description.chip_size)

    def answer(self, chips: Sequence[images.Pixels]) -> list[Answer]:
        """The answers for chips, which may be of several photographs."""
        side = self.description.chip_size
        pixels = np.stack(chips) if chips else np.zeros((0, side, side, 3), np.uint8)
        return answers_of(
            self._classifier.predict(pixels), self.description.labels, self.description.threshold, self.min_confidence
        )


def answers_of(
    probabilities: NDArray[np.floating], labels: Sequence[str], threshold: float, min_confidence: float
) -> list[Answer]:
    """Give faces their labels.

    Args:
        probabilities: Shape (n, 2), in the order of `labels`.
        labels: The two labels.
        threshold: The second label is given where its probability is at least this.
        min_confidence: Below this probability of the label that it would be given, a face is `unknown`.
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
    """An answer in words: `female 93%`, or `unknown` alone, as a percentage would be read as its own."""
    if answer.label == UNKNOWN:
        return UNKNOWN
    return f"{answer.label} >99%" if answer.confidence > 0.99 else f"{answer.label} {answer.confidence:.0%}"


def load_predictor(attempt: str, min_confidence: float) -> Predictor:
    """Load a trained model for prediction.

    Raises:
        DataError: There is no such model, or it is not what it was when its training ended.
        ConfigurationError: It was not trained on faces.
    """
    from ml.model.classifier import Classifier  # late: it imports TensorFlow

    return Predictor(Classifier.load(attempt), min_confidence)


@cache
def worker_predictor(attempt: str, min_confidence: float) -> Predictor:
    """The predictor of a Spark Python worker, loaded once in its life.

    A worker is one of as many processes as there are cores, so TensorFlow and OpenCV get one thread each.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    return load_predictor(attempt, min_confidence)
