"""Calibrate a trained network on the validation split: temperature and threshold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

from ml.features.reader import FeatureReader
from ml.metrics.calibration import apply_temperature, face_log_losses
from ml.metrics.choice import Choice, choose_cut, choose_temperature
from ml.metrics.decision import decide
from ml.metrics.promise import RiskTable, risk_table
from ml.model.record import FittedValue, ValidationScores

REFERENCE_CANDIDATES = 256


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        temperature: The temperature, which is built into the network.
        threshold: The decision threshold.
        scores: The calibrated network's scores on the validation split.
        risk: Answers and errors on the validation split by the confidence that a face needs to get a label.
    """

    temperature: FittedValue
    threshold: FittedValue
    scores: ValidationScores
    risk: RiskTable


def calibrate(network: keras.Model, validation: FeatureReader) -> Calibrated:
    """Choose temperature and threshold on the validation split, and build the temperature into the network.

    Args:
        network: The trained network, whose last layer with weights computes the logits; changed in place.
        validation: The validation faces.
    """
    reader = FeatureReader(validation.manifest, validation.split, ("image_id",))
    parts = [
        (network.predict_on_batch(batch.pixels), batch.labels, batch.columns["image_id"])
        for batch in reader.batches(REFERENCE_CANDIDATES)
    ]
    raw, truth, images = (np.concatenate(column) for column in zip(*parts, strict=True))
    temperature = choose_temperature(raw, truth, images)
    if temperature.chosen != 1.0:
        # Logits are linear in the last layer's kernel and bias, so dividing both divides the logits.
        head = next(layer for layer in reversed(network.layers) if layer.weights)
        head.set_weights([weight / temperature.chosen for weight in head.get_weights()])
    probabilities = apply_temperature(raw, temperature.chosen)
    threshold = choose_cut(probabilities, truth, images)
    scores = ValidationScores(
        loss=float(face_log_losses(probabilities, truth).mean()),
        accuracy=float((decide(probabilities, threshold.chosen) == truth).mean()),
        faces=validation.rows,
        majority=max(validation.faces) / validation.rows,
    )
    risk = risk_table(probabilities, truth, threshold.chosen, images)
    return Calibrated(_record(temperature), _record(threshold), scores, risk)


def _record(choice: Choice) -> FittedValue:
    return FittedValue(**dataclasses.asdict(choice))
