"""Calibrate a trained network on the validation split: temperature and threshold."""

from __future__ import annotations

import keras
import numpy as np

from ml.features.reader import FeatureReader
from ml.metrics.calibration import apply_temperature, choose_threshold, face_log_losses, fit_temperature
from ml.metrics.decision import decide
from ml.model.record import ValidationScores

REFERENCE_CANDIDATES = 256


def calibrate(network: keras.Model, validation: FeatureReader) -> tuple[float, float, ValidationScores]:
    """Fit temperature and threshold on the validation split, and build the temperature into the network.

    Args:
        network: The trained network, whose last layer with weights computes the logits; changed in place.
        validation: The validation faces.

    Returns:
        Temperature, threshold, and the calibrated network's scores on the validation split.
    """
    parts = [(network.predict_on_batch(b.pixels), b.labels) for b in validation.batches(REFERENCE_CANDIDATES)]
    raw, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    temperature = fit_temperature(raw, truth)
    # Logits are linear in the last layer's kernel and bias, so dividing both divides the logits.
    head = next(layer for layer in reversed(network.layers) if layer.weights)
    head.set_weights([weight / temperature for weight in head.get_weights()])
    probabilities = apply_temperature(raw, temperature)
    threshold = choose_threshold(probabilities, truth)
    scores = ValidationScores(
        loss=float(face_log_losses(probabilities, truth).mean()),
        accuracy=float((decide(probabilities, threshold) == truth).mean()),
        faces=validation.rows,
        majority=max(validation.faces) / validation.rows,
    )
    return temperature, threshold, scores
