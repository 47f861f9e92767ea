"""What stage predict states about its output."""

from __future__ import annotations

from ml.flow.record import Record


class PredictionsRecord(Record):
    """What stage predict states in its manifest.

    Attributes:
        photographs: Number of photographs listed.
        faces: Number of faces by the label that they were given, `unknown` included.
        labels: The labels, in the order of the model's outputs.
        meaning: What the labels stand for.
        threshold: Probability from which the second label is given.
        model: URI of the model's attempt.
        sample: URI of the folder of annotated photographs.
    """

    photographs: int
    faces: dict[str, int]
    labels: list[str]
    meaning: str
    threshold: float
    model: str
    sample: str
