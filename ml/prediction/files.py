"""The files that the command `predict` writes beside the annotated photographs: a CSV file and a JSON file."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ml.errors import ResourceError
from ml.flow.record import Record
from ml.metrics.promise import Promise
from ml.prediction.predictor import Answer, Predictor, unusual_text
from ml.prediction.record import DetectorRecord
from ml.vision.drawing import Rectangle

EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Outcome:
    """The outcome for one photograph.

    Attributes:
        photo: Path of the photograph.
        status: `classified`, `no face` or `unreadable`.
        faces: Boxes in pixels of the upright photograph.
        answers: One prediction per face.
        annotated: Path of the annotated copy; None without a copy.
    """

    photo: str
    status: str
    faces: tuple[Rectangle, ...] = ()
    answers: tuple[Answer, ...] = ()
    annotated: Path | None = None


class Heading(Record):
    """The part of `predictions.json` that applies to all photographs.

    Attributes:
        model: URI of the model's attempt.
        meaning: What the labels stand for.
        labels: The labels, in the order of the model's outputs.
        threshold: The second label is predicted where its probability is at least this.
        min_confidence: Predictions with a lower confidence are `unknown`.
        promise: The promise that `min_confidence` is from; None if it was set.
    """

    model: str
    meaning: str
    labels: list[str]
    threshold: float
    min_confidence: float
    promise: Promise | None
    detector: DetectorRecord


class FaceEntry(Record):
    """A face in `predictions.json`: its number on the photograph, its box by edge, prediction, why it is unusual."""

    face: int
    box: dict[str, int]
    label: str
    confidence: float
    probabilities: dict[str, float]
    unusual: tuple[str, ...] | None


class PhotographEntry(Record):
    """A photograph in `predictions.json`."""

    photograph: str
    status: str
    annotated: str | None
    faces: list[FaceEntry]


class PredictionFiles:
    """Writes `predictions.csv` and `predictions.json` photograph by photograph, in a temporary folder until published.

    Args:
        predictor: Makes the predictions.
        attempt: The model's attempt.
        out: The folder for both files and the annotated copies; paths of copies are relative to it.
        detector: How faces are found.
    """

    def __init__(self, predictor: Predictor, attempt: str, out: Path, detector: DetectorRecord) -> None:
        self._out = out
        self._heading = Heading(
            model=attempt,
            meaning=predictor.description.meaning,
            labels=predictor.description.labels,
            threshold=predictor.description.threshold,
            min_confidence=predictor.min_confidence,
            promise=predictor.promise,
            detector=detector,
        )
        self._separator = "\n"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp())
        self._csv_file = (self._folder / "predictions.csv").open("w", newline="", encoding="utf-8")
        self._json_file = (self._folder / "predictions.json").open("w", encoding="utf-8")
        self._csv = csv.writer(self._csv_file)
        self._csv.writerow(
            [
                *("photograph", "status", "face", *EDGES, "label", "confidence"),
                *(f"probability {label}" for label in self._heading.labels),
                *("unusual", "annotated", "model", "meaning", "detector"),
            ]
        )
        self._json_file.write(json.dumps(self._heading.json_values())[:-1] + ', "photographs": [')
        return self

    def __exit__(self, *error: object) -> None:
        self._csv_file.close()
        self._json_file.close()
        shutil.rmtree(self._folder)

    def add(self, outcome: Outcome) -> None:
        """Write one photograph: one row per face, or a single row without faces."""
        annotated = outcome.annotated.relative_to(self._out).as_posix() if outcome.annotated else None
        tail = [annotated, self._heading.model, self._heading.meaning, self._heading.detector.name]
        if not outcome.faces:
            empty = [None] * (len(EDGES) + 4 + len(self._heading.labels))
            self._csv.writerow([outcome.photo, outcome.status, *empty, *tail])
        faces: list[FaceEntry] = []
        for number, (face, answer) in enumerate(zip(outcome.faces, outcome.answers, strict=True), start=1):
            values = [answer.label, answer.confidence, *answer.probabilities, unusual_text(answer)]
            self._csv.writerow([outcome.photo, outcome.status, number, *face, *values, *tail])
            faces.append(
                FaceEntry(
                    face=number,
                    box=dict(zip(EDGES, face, strict=True)),
                    label=answer.label,
                    confidence=answer.confidence,
                    probabilities=dict(zip(self._heading.labels, answer.probabilities, strict=True)),
                    unusual=answer.unusual,
                )
            )
        entry = PhotographEntry(photograph=outcome.photo, status=outcome.status, annotated=annotated, faces=faces)
        self._json_file.write(self._separator + json.dumps(entry.json_values()))
        self._separator = ",\n"

    def publish(self) -> None:
        """Copy both files, with all that was added so far, to the output folder, each whole or not at all.

        Raises:
            ResourceError: The output folder cannot be written.
        """
        for file, end in ((self._csv_file, ""), (self._json_file, "\n]}\n")):
            file.flush()
            target = self._out / Path(file.name).name
            partial = target.with_name(f".{target.name}.partial")
            try:
                self._out.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.name, partial)
                with partial.open("a", encoding="utf-8") as rest:
                    rest.write(end)
                partial.replace(target)
            except OSError as error:
                raise ResourceError(
                    f"{self._out} cannot be written: {error.strerror}.", "Name another folder."
                ) from error
