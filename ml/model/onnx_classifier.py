"""A trained model on ONNX Runtime, which starts in a fraction of the seconds that TensorFlow takes.

Both give a face the same probabilities within 0.001; loading checks that on the model's reference chips. For a few
photographs, starting is what takes the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.errors import PreprocessingError
from ml.guards import check_pixels, check_probabilities
from ml.model.description import Description
from ml.model.loading import ChipClassifier, check_model, read_description, refusal
from ml.model.penultimate import narrowed
from ml.workflow.manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ONNX = "model.onnx"
OUTPUT, FEATURES = "probabilities", "features"
INPUT = "pixels"
BATCH_SIZE = 64
ERRORS_ONLY = 3  # ONNX Runtime's severity


class OnnxClassifier:
    """Predicts the label probabilities of chips as `ml.model.classifier.Classifier` does.

    Args:
        session: The session of a model's ONNX file.
        description: The model's description.

    Raises:
        PreprocessingError: The file does not take the chips that the description states.
    """

    def __init__(self, session: InferenceSession, description: Description) -> None:
        self.description = description
        self._session = session
        side = description.chip_size
        takes = [(value.name, value.type, value.shape[1:]) for value in session.get_inputs()]
        if takes != [(INPUT, "tensor(uint8)", [side, side, 3])]:
            raise PreprocessingError(
                f"The ONNX file takes {takes}, but its description states uint8 {(side, side, 3)}.",
                "The model's files do not belong together: train again.",
            )

    @classmethod
    def load(cls, source: Manifest | str) -> Self:
        """Load a trained model and check it.

        Args:
            source: The manifest or URI of the attempt of stage train, which must hold `model.onnx`.

        Raises:
            DataError: There is no such model, or one of its files is damaged.
            LabelOrderError: Two places disagree about the labels' order.
            PreprocessingError: The probabilities of the reference chips have changed.
        """
        manifest = load_manifest(source) if isinstance(source, str) else source
        description = read_description(manifest)
        try:
            session = _open(storage.read_bytes(manifest.file(ONNX)))
        except Exception as error:  # ONNX Runtime has a dozen, without a base class of their own
            raise refusal(manifest, error, "Name another model, or train again.") from error
        classifier = cls(session, description)
        check_model(manifest, classifier.predict)
        return classifier

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the probability of each label for each chip.

        Args:
            pixels: uint8 RGB, shape (n, chip_size, chip_size, 3), 0..255, any n.

        Returns:
            float32, shape (n, labels), rows that sum to 1.

        Raises:
            PreprocessingError: The chips have another type or size, or were scaled.
            MetricsError: The network's outputs are not probabilities.
        """
        check_pixels(pixels, self.description.chip_size)
        parts = [
            np.asarray(self._session.run([OUTPUT], {INPUT: pixels[start : start + BATCH_SIZE]})[0], np.float32)
            for start in range(0, len(pixels), BATCH_SIZE)
        ]
        probabilities = np.concatenate(parts or [np.zeros((0, len(self.description.labels)), np.float32)])
        check_probabilities(probabilities)
        return probabilities

    def predict_with_features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict chips, and return the network's features of each, see `ml.model.classifier.Classifier`."""
        check_pixels(pixels, self.description.chip_size)
        # A batch without chips has no rows, but tells the width.
        starts = range(0, len(pixels) or 1, BATCH_SIZE)
        parts = [self._session.run([OUTPUT, FEATURES], {INPUT: pixels[at : at + BATCH_SIZE]}) for at in starts]
        probabilities, features = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        check_probabilities(probabilities)
        return probabilities, narrowed(features)


def load_quickly(source: Manifest | str) -> ChipClassifier:
    """Load a trained model with ONNX Runtime, or with Keras if an old version of the program wrote no ONNX file.

    Args:
        source: The manifest or URI of the attempt of stage train.

    Raises:
        DataError: There is no such model, or it is damaged.
    """
    manifest = load_manifest(source) if isinstance(source, str) else source
    if any(file.path == ONNX for file in manifest.files):
        return OnnxClassifier.load(manifest)
    from ml.model.classifier import Classifier  # imported late, because it imports TensorFlow

    return Classifier.load(manifest)


def _open(content: bytes) -> InferenceSession:
    import onnxruntime

    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
