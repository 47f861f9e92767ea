"""What belongs to a trained network: its labels, chip size, margin, temperature and threshold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_serializer

from ml.model.record import ValidationScores

DESCRIPTION = "model.json"


class Description(BaseModel):
    """What one must know to use a model.

    Attributes:
        labels: The labels in the order of the network's outputs.
        meaning: What the labels stand for.
        chip_size: Width and height of the chips that the network takes, in pixels.
        margin: Added around a face box before the chip is cut, as a share of the box's longer side.
        chip_class: The Open Images class whose boxes are cut out.
        network: The network's name in `ml.networks.table.NETWORKS`.
        parameters: Number of its parameters.
        best_epoch: The epoch, from 1, whose weights these are.
        validation: What it reaches on the validation split.
        features: URI of the features attempt that it learned from.
        temperature: By which the logits were divided, so that probabilities are calibrated on the validation split; the
            network has it inside already.
        threshold: The second label is given where its probability is at least this; chosen on the validation split.
    """

    model_config = ConfigDict(frozen=True)

    labels: list[str]
    meaning: str
    chip_size: int
    margin: float
    chip_class: str
    network: str
    parameters: int
    best_epoch: int
    validation: ValidationScores
    features: str
    temperature: float = 1.0
    threshold: float = 0.5

    @field_serializer("validation")
    def _numbers(self, scores: ValidationScores) -> dict[str, float]:
        # The count of faces has always been written with a decimal point here.
        return {name: float(value) for name, value in scores}
