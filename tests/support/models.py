"""Make a train attempt with a known network, which distinguishes red chips (label 0) from blue ones (label 1)."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml import storage
from ml.metrics.promise import RiskTable
from ml.model.description import DESCRIPTION, Description
from ml.model.novelty import NOVELTY, Looks, Novelty
from ml.model.record import EpochRow
from ml.report.figures import training as training_figures
from ml.vision import images
from ml.workflow.manifest import File, Manifest
from support.training import make_epoch, make_record

if TYPE_CHECKING:
    import keras


def make_model(
    root: Path,
    size: int = 32,
    sharpness: float = 40.0,
    bias: float = 0.0,
    finished: str = "2020-01-01T01:00:00+00:00",
    chip_class: str = "Human face",
    name: str = "first",
    threshold: float = 0.5,
    temperature: float = 1.0,
    risk: tuple[float, int, int] | None = None,
    network: keras.Model | None = None,
    novelty: Novelty | None = None,
) -> Manifest:
    """Write a train attempt below `root`.

    Args:
        root: The storage root.
        size: Width and height of the chips.
        sharpness: How sure the network is of red and blue; a negative one always answers the other label.
        bias: Added to the second label's logit.
        finished: When the training finished.
        chip_class: The class that it says it was trained on.
        name: Of the attempt.
        threshold: The one that its training chose.
        temperature: That it says it has inside.
        risk: What its promises rest on: a confidence, and how many of the validation faces above it there are and are
            wrong. None: as in models of older versions.
        network: Another network than that of the reds and blues.
        novelty: The range of its training faces; by default it knows none, as models of older versions.
    """
    uri = storage.join(storage.normalize(root), f"stages/train/0a/attempts/{name}")
    described = describe(size, chip_class, threshold, temperature, risk)
    if network is None:
        for path, content in _files_of_reds_and_blues(sharpness, bias, size).items():
            storage.write_bytes(storage.join(uri, path), content)
        storage.write_json(storage.join(uri, DESCRIPTION), described.model_dump(mode="json"))
    else:
        _write(uri, network, described)
    if novelty:
        storage.write_bytes(storage.join(uri, NOVELTY), novelty.content())
    record = make_record(uri)
    storage.write_json(storage.join(uri, "history.json"), [row.json_values() for row in _history()])
    storage.write_bytes(storage.join(uri, "curves.svg"), _curves())
    manifest = Manifest(
        stage="train",
        version=1,
        key="0a",
        attempt=name,
        uri=uri,
        config={},
        inputs={},
        sources={},
        files=[File(path=path, bytes=size) for path, size in storage.list_files(uri).items()],
        metrics=record.json_values(),
        ledger={},
        versions={"python": "3.11", "keras": "3.15"},
        started="2020-01-01T00:00:00+00:00",
        finished=finished,
    )
    storage.write_bytes(storage.join(uri, "manifest.json"), manifest.model_dump_json().encode())
    return manifest


def reds_and_blues(size: int, sharpness: float = 40.0, bias: float = 0.0) -> keras.Model:
    """Build the network that distinguishes red chips from blue ones."""
    import keras

    pixels = keras.Input((size, size, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    head = keras.layers.Dense(2, activation="softmax")
    network = keras.Model(pixels, head(mean))
    head.set_weights([sharpness * np.array([[1, -1], [0, 0], [-1, 1]], float), np.array([0.0, bias])])
    return network


def dull_reds(features: int = 3) -> Novelty:
    """Return a range of training faces: of medium brightness, 16 pixels or more, soft, and red (label 0) or blue.

    Args:
        features: How many features the network has.
    """
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    colors = np.where(labels[:, None] == 0, (0.6, 0.4, 0.3), (0.3, 0.4, 0.6)) + random.normal(0, 0.05, (200, 3))
    looks = Looks(
        brightness=random.uniform(0.3, 0.7, 200), size=np.full(200, 16.0), sharpness=random.uniform(5, 5000, 200)
    )
    return Novelty.fit(looks, colors[:, :features], labels, colors[:, :features])


@functools.cache
def _history() -> tuple[EpochRow, ...]:
    return tuple(make_epoch(epoch) for epoch in (1, 2, 3))


@functools.cache
def _curves() -> bytes:
    return training_figures.training_curves(_history(), 2)


@functools.cache  # the exports take a second, and most tests ask for the same few networks
def _files_of_reds_and_blues(sharpness: float, bias: float, size: int) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        uri = storage.normalize(folder)
        _write(uri, reds_and_blues(size, sharpness, bias), describe(size))
        return {path: storage.read_bytes(storage.join(uri, path)) for path in storage.list_files(uri)}


def describe(
    size: int,
    chip_class: str = "Human face",
    threshold: float = 0.5,
    temperature: float = 1.0,
    risk: tuple[float, int, int] | None = None,
) -> Description:
    """Describe a model of chips of `size` pixels; the arguments are those of `make_model`."""
    table = None
    if risk:
        limit, answered, wrong = risk
        counts = {"answered": [answered], "wrong": [wrong], "photographs": [float(answered)]}
        table = RiskTable(faces=answered, thresholds=[limit], **counts)
    return Description(
        labels=["female", "male"],
        meaning="as perceived",
        chip_size=size,
        margin=0.2,
        chip_class=chip_class,
        network="compact",
        parameters=8,
        best_epoch=2,
        validation=make_record("").validation,
        features="file:///features",
        threshold=threshold,
        temperature=temperature,
        risk=table,
    )


def _write(uri: str, network: keras.Model, description: Description) -> None:
    from ml.model.write import write_model

    side = description.chip_size
    write_model(uri, network, description, np.random.default_rng(0).integers(0, 255, (4, side, side, 3), np.uint8))


def png_of(color: tuple[int, int, int], side: int = 8) -> bytes:
    """Return a small PNG of one color."""
    return images.encode_png(np.full((side, side, 3), color, np.uint8))
