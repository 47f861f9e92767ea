"""What every way of loading a trained model reads and checks, without Keras."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.errors import DataError
from ml.guards import check_label_order, check_reference
from ml.model.description import DESCRIPTION, Description
from ml.model.record import ModelLabels
from ml.model.reference import read_reference
from ml.workflow.manifest import Manifest


class ChipClassifier(Protocol):
    """A model that predicts chips, whichever library it runs on."""

    description: Description

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the probability of each label for each chip, see `ml.model.classifier.Classifier.predict`."""

    def predict_with_features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict chips, and return the network's features of each, see `ml.model.classifier.Classifier`."""


def read_description(manifest: Manifest, labels: Sequence[str] | None = None) -> Description:
    """Read a model's description, and check that everyone has the labels in the same order.

    Args:
        manifest: The attempt of stage train.
        labels: The order of labels that the caller expects; None to accept the model's.

    Raises:
        DataError: The description is missing or damaged.
        LabelOrderError: Two places disagree about the labels' order.
    """
    try:
        file = manifest.file(DESCRIPTION)
        description = Description.model_validate_json(storage.read_bytes(file))
    except (KeyError, ValueError, OSError) as error:
        raise refusal(manifest, error, "Name a committed attempt of stage train.") from error
    check_label_order(manifest.record(ModelLabels).labels, description.labels, file)
    if labels is not None:
        check_label_order(labels, description.labels, f"The model {manifest.uri}")
    return description


def check_model(manifest: Manifest, predict: Callable[[NDArray[np.uint8]], NDArray[np.floating]]) -> None:
    """Check that a loaded model predicts for its reference chips what it predicted after training.

    Args:
        manifest: The attempt of stage train.
        predict: Predicts chips with the loaded model.

    Raises:
        DataError: The reference chips cannot be read.
        PreprocessingError: The probabilities have changed.
    """
    try:
        reference = read_reference(manifest)
        chips = reference.pixels
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise DataError(
            f"The reference chips in {manifest.uri} cannot be read: {_reason(error)}",
            "Without them the model cannot be verified: train again.",
        ) from error
    check_reference(reference.probabilities, predict(chips))


def refusal(manifest: Manifest, error: Exception, advice: str) -> DataError:
    """Return the error to raise if a file of a model cannot be loaded."""
    return DataError(f"The model in {manifest.uri} cannot be loaded: {_reason(error)}", advice)


def _reason(error: Exception) -> str:
    """Return an error's message as one line, without the configuration of all layers that Keras puts before it."""
    return textwrap.shorten(str(error).rpartition("Exception encountered: ")[2], 500, placeholder=" ...")
