"""The description of a trained network: its labels, chip size, margin, temperature and threshold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_serializer

from ml.metrics.promise import RiskTable
from ml.model.record import ValidationScores

DESCRIPTION = "model.json"


class Description(BaseModel):
    """The facts needed to use a model.

    Attributes:
        labels: The labels in the order of the network's outputs.
        meaning: What the labels stand for.
        chip_size: Width and height of the chips that the network takes, in pixels.
        margin: Margin around a face box when the chip is cut, as a share of the box's longer side.
        chip_class: The Open Images class whose boxes are cut out.
        network: The network's name in `ml.networks.table.NETWORKS`.
        parameters: Number of the network's parameters.
        best_epoch: The epoch, from 1, that the weights are from.
        validation: The model's scores on the validation split.
        features: URI of the features attempt that the model was trained on.
        temperature: Divisor of the logits, which calibrates probabilities on the validation split; already built into
            the network.
        threshold: The second label is predicted where its probability is at least this; chosen on the validation split.
        risk: What promises are made of, see `ml.metrics.promise`; None in models of older versions.
        box_aspect: Median height of the training faces' boxes as a share of their width; None in models of older
            versions.
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
    risk: RiskTable | None = None
    box_aspect: float | None = None

    @field_serializer("validation")
    def _numbers(self, scores: ValidationScores) -> dict[str, float]:
        # model.json has always stored the count of faces with a decimal point.
        return {name: float(value) for name, value in scores}
