"""Answers single photographs for the page 'Try it', in a process of its own: `python -m ml.prediction.interactive`.

The web server must neither load TensorFlow nor decode what strangers send. It starts this process, which loads the
detector and the model once, reads a photograph at a time from standard input and writes its answer to standard output.
The process writes no file, and it ends when its standard input does, so it cannot outlive the web server.

A message is its length in four bytes and JSON. A request's JSON is followed by the bytes of a photograph.
"""

from __future__ import annotations

import base64
import logging
import os
import struct
import sys
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict

from ml.errors import DataError, StageError
from ml.flow.record import Record
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import Finding
from ml.prediction.predictor import Answer, ExplainingPredictor, load_explaining_predictor
from ml.prediction.record import DetectorRecord
from ml.vision import drawing, images
from ml.vision.detection import FaceFinder, decode_upright

log = logging.getLogger(__name__)
LARGEST = 50_000_000  # pixels of a photograph, which bounds the memory of this process
EXPLAINED = 24  # faces of a photograph, the largest ones, that get a heat map
CHIP_SIDE = 224  # pixels of the pictures of a face
_LENGTH = struct.Struct(">I")
PROTOCOL = ConfigDict(frozen=True, extra="forbid")


class Request(BaseModel):
    """A request: the model's attempt, what decides that a face gets no label, how to find faces, and the bytes of the
    photograph.
    """

    model_config = PROTOCOL

    model: str
    min_confidence: float
    max_risk: float | None = None
    finding: Finding
    bytes: int


class ExplainedFace(Record):
    """A face and its prediction.

    Attributes:
        box: Left, top, right and bottom in pixels of the upright photograph.
        label: The predicted label, or `unknown`.
        confidence: Probability of the label that the threshold selects.
        probabilities: Probability of each label.
        unusual: Why the face lies outside the range of training's, of `ml.model.novelty.REASONS`; None if that was not
            measured.
        chip: What the network saw, as a JPEG file in base64.
        heat: The same under a heat map of where the network looked, or None.
    """

    box: tuple[int, int, int, int]
    label: str
    confidence: float
    probabilities: dict[str, float]
    unusual: tuple[str, ...] | None
    chip: str
    heat: str | None


class Fault(Record):
    """Why there is no answer, as in `ml.errors.StageError`."""

    kind: str
    message: str
    advice: str


class Reply(Record):
    """The answer to a request.

    Attributes:
        width: Width of the upright photograph in pixels.
        height: Its height.
        faces: Its faces, from left to right.
        meaning: What the labels stand for.
        threshold: The second label is predicted where its probability is at least this.
        min_confidence: Predictions with a lower confidence are `unknown`.
        detector: How faces were found.
        fault: Why there is no answer; None if there is one.
    """

    width: int = 0
    height: int = 0
    faces: list[ExplainedFace] = []
    meaning: str = ""
    threshold: float = 0.5
    min_confidence: float = 0.5
    detector: DetectorRecord | None = None
    fault: Fault | None = None


def main() -> None:
    """Answer requests from standard input until it ends."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    os.nice(5)  # the web server's pages come first
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with replies
    serve(sys.stdin.buffer, replies)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests in turn; keep the latest model in memory."""
    loaded: dict[tuple[str, float, float | None], ExplainingPredictor] = {}
    while message := read_message(requests):
        request = Request.model_validate_json(message)
        photograph = requests.read(request.bytes)
        key = request.model, request.min_confidence, request.max_risk
        try:
            if key not in loaded:
                loaded.clear()
                loaded[key] = load_explaining_predictor(*key)
            box_aspect = loaded[key].description.box_aspect
            reply = explain(loaded[key], load_finder(request.finding, box_aspect), photograph)
            reply = reply.model_copy(update={"detector": detector_record(request.finding, box_aspect)})
        except StageError as error:
            reply = Reply(fault=Fault(kind=error.kind, message=error.message, advice=error.advice))
        write_message(replies, reply.model_dump_json().encode())


def explain(predictor: ExplainingPredictor, finder: FaceFinder, photograph: bytes) -> Reply:
    """Find the faces of a photograph, classify them, and show where the network looked.

    Raises:
        DataError: The photograph is too large or cannot be decoded completely.
    """
    photo = _decode(photograph)
    height, width = photo.shape[:2]
    found = finder.detect(photo)
    boxes = [face.rectangle() for face in found]
    chips = [predictor.cut_chip(photo, face.rectangle(), face.rotation) for face in found]
    answers = predictor.answer(chips, boxes)
    heats = _heats(predictor, boxes, chips, answers)
    return Reply(
        width=width,
        height=height,
        faces=[
            ExplainedFace(
                box=box,
                label=answer.label,
                confidence=answer.confidence,
                probabilities=dict(zip(predictor.description.labels, answer.probabilities, strict=True)),
                unusual=answer.unusual,
                chip=_picture(chip),
                heat=heats.get(index),
            )
            for index, (box, chip, answer) in enumerate(zip(boxes, chips, answers, strict=True))
        ],
        meaning=predictor.description.meaning,
        threshold=predictor.description.threshold,
        min_confidence=predictor.min_confidence,
    )


def _decode(photograph: bytes) -> images.Pixels:
    try:
        header = images.read_header(photograph)
        if header.width * header.height > LARGEST:
            raise DataError(
                f"The photograph has {header.width} x {header.height} pixels.",
                f"At most {LARGEST // 1_000_000} megapixels are accepted.",
            )
        return decode_upright(photograph)
    except images.ImageTooLargeError as error:
        raise DataError(str(error)) from error
    except images.UnreadableImageError as error:
        raise DataError("This is not a readable photograph.", "A complete JPEG or PNG file is needed.") from error


def _heats(
    predictor: ExplainingPredictor, boxes: list[drawing.Rectangle], chips: list[images.Pixels], answers: list[Answer]
) -> dict[int, str]:
    """Return the heat maps of the largest faces by their place in the list."""
    area = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    largest = sorted(range(len(boxes)), key=lambda index: -area[index])[:EXPLAINED]
    if not largest:
        return {}
    maps = predictor.explain([chips[index] for index in largest], [answers[index] for index in largest])
    return {
        index: _picture(drawing.heat_overlay(drawing.fit(chips[index], CHIP_SIDE), heat))
        for index, heat in zip(largest, np.asarray(maps), strict=True)
    }


def _picture(pixels: images.Pixels) -> str:
    return base64.b64encode(images.encode_jpeg(drawing.fit(pixels, CHIP_SIDE))).decode()


def read_message(source: BinaryIO) -> bytes:
    """Read a message; return no bytes if the source has ended."""
    head = source.read(_LENGTH.size)
    return source.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""


def write_message(target: BinaryIO, content: bytes) -> None:
    """Write a message, whose content must not be empty."""
    target.write(_LENGTH.pack(len(content)) + content)
    target.flush()


if __name__ == "__main__":
    main()
