"""One face, six ways to its probabilities: they agree, so what is served is what was learned.

Spark cuts the chip and the training reader hands it to `model.keras`; the SavedModel is given the chip as it is stored,
and as a PNG; ONNX is given the reader's pixels; the command `predict` and the bulk job start from the photograph. One
network looks at edges and colours alone, so that another resizing or swapped channels change its answers; the other is
the one that is trained by default, as deep and with random weights.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import matplotlib.cbook
import numpy as np
import pyarrow.dataset as ds
import pytest
from PIL import Image
from pyspark.sql import functions as F

from ml import storage
from ml.features import reader as reader_module
from ml.features.columns import names
from ml.model import onnx as onnx_file
from ml.model import saved_model as saved_model_file
from ml.model.classifier import Classifier
from ml.model.onnx_classifier import ONNX
from ml.prediction.predictor import Predictor
from ml.vision import detection, images
from ml.vision.detectors.face import Face
from spark_jobs import chipping, featurize, predict
from support.chips import chipping_of, face_table
from support.models import make_model

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
FACE = (182, 122, 349, 330)  # left, top, right, bottom
SIZE = 96
# Of the photograph's size: the chips are enlarged, left nearly as they are, reduced, and reduced twice.
SCALES = (0.3, 0.33, 0.5, 1.0, 1.55)
TOLERANCE = 1e-3
EDGE_WEIGHT = -15.0
COLOUR_WEIGHTS = (6.0, 0.0, -6.0)
LOGIT = 2.0  # of the deep network, between the chips and those with swapped channels


def probe(pixels):
    """A network that looks at edges and colours."""
    import keras

    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1 / 255)(inputs)
    edges = layers.Conv2D(2, 3, activation="relu")  # the green channel's second derivative, both signs
    kernel = np.zeros((3, 3, 3, 2))
    kernel[:, :, 1, 0] = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    kernel[..., 1] = -kernel[..., 0]
    sharp = layers.GlobalAveragePooling2D()(edges(scaled))
    edges.set_weights([kernel, np.zeros(2)])
    colour = layers.GlobalAveragePooling2D()(scaled)
    head = layers.Dense(2, activation="softmax")
    network = keras.Model(inputs, head(layers.Concatenate()([sharp, colour])))
    # The mean edge is some hundredths, red less blue some tenths.
    weights = np.array([EDGE_WEIGHT, EDGE_WEIGHT, *COLOUR_WEIGHTS])
    head.set_weights([np.stack([weights, -weights], axis=1), np.zeros(2)])
    return network


def compact(pixels):
    """The network that is trained by default, its head set to tell the chips from those with red and blue swapped."""
    import keras

    from ml.networks.table import NETWORKS

    keras.utils.set_random_seed(0)
    network = NETWORKS["compact"].build(SIZE, 2)
    swapped = np.ascontiguousarray(pixels[..., ::-1])
    for _ in range(20):
        network(np.concatenate([pixels, swapped]), training=True)  # batch statistics of its own
    features = keras.Model(network.input, network.layers[-2].output)
    one, other = (features(chips, training=False).numpy().mean(axis=0) for chips in (pixels, swapped))
    weights = (one - other) / np.square(one - other).sum()  # a logit of 1 lies between the two
    middle = weights @ (one + other) / 2
    network.layers[-1].set_weights([LOGIT * np.stack([weights, -weights], axis=1), LOGIT * np.array([-middle, middle])])
    return network


@pytest.fixture(scope="module", params=[probe, pytest.param(compact, marks=pytest.mark.slow)])
def model(request, chips, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), size=SIZE, network=request.param(chips[1]))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The photograph in several sizes in one folder, and the face's box in pixels of each."""
    folder = tmp_path_factory.mktemp("release") / "train"
    folder.mkdir()
    boxes = {}
    original = np.asarray(Image.open(HOPPER).convert("RGB"))
    for number, scale in enumerate(SCALES):
        resized = cv2.resize(original, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        (folder / f"image{number}.jpg").write_bytes(images.encode_jpeg(np.asarray(resized, np.uint8), 90))
        boxes[f"image{number}"] = tuple(round(edge * scale) for edge in FACE)
    return folder, boxes


@pytest.fixture(scope="module")
def chips(spark, photographs):
    """What Spark makes of the faces: by image the stored chip, and the pixels that the training reader hands over."""
    folder, boxes = photographs
    rows = []
    for image_id, (left, top, right, bottom) in boxes.items():
        height, width = images.decode((folder / f"{image_id}.jpg").read_bytes()).shape[:2]
        rows.append((image_id, left / width, right / width, top / height, bottom / height))
    names_ = ("image_id", "x_min", "x_max", "y_min", "y_max")
    faces = face_table({**dict(zip(names_, row, strict=True)), "label": "female"} for row in rows)
    made, _ = chipping.cut_faces(faces, chipping_of(folder.parent))
    cut = spark.createDataFrame(made).withColumn("split", F.col("subset")).withColumn("label", F.lit(0).cast("tinyint"))
    tensors = featurize.to_tensors(cut.select(*names(featurize.CARRIED), "chip"), SIZE)
    target = str(folder.parent / "features")
    tensors.write.parquet(target)
    table = ds.dataset(target).to_table(columns=["image_id", "pixels"]).combine_chunks()
    pixels = reader_module.chips(table.column("pixels").chunk(0), SIZE)
    read = dict(zip(table.column("image_id").to_pylist(), pixels, strict=True))
    stored = {row.image_id: bytes(row.chip) for row in cut.select("image_id", "chip").collect()}
    return [stored[image_id] for image_id in boxes], np.stack([read[image_id] for image_id in boxes])


@pytest.fixture(scope="module")
def learned(chips, model):
    """The probabilities by the way of training."""
    return Classifier.load(model).predict(chips[1])


def saved_model(photographs, chips, model):
    folder = storage.local_path(model.uri) / saved_model_file.SAVED_MODEL
    return saved_model_file.ask_saved_model(folder, ["female", "male"], chips[0])


def saved_model_of_pngs(photographs, chips, model):
    pngs = [images.encode_png(images.decode(chip)) for chip in chips[0]]
    return saved_model(photographs, (pngs, chips[1]), model)


def onnx(photographs, chips, model):
    return onnx_file.ask_onnx(storage.local_path(model.uri) / ONNX, chips[1])


def command(photographs, chips, model):
    """As `ml.prediction.photos` does it, with the box that the release has in place of the detector's."""
    folder, boxes = photographs
    predictor = Predictor(Classifier.load(model), 0.5)
    cut = []
    for image_id, box in boxes.items():
        photo = detection.decode_upright((folder / f"{image_id}.jpg").read_bytes())
        cut.append(predictor.cut_chip(photo, box))
    return np.array([answer.probabilities for answer in predictor.answer(cut, list(boxes.values()))])


def bulk_job(photographs, chips, model):
    folder, boxes = photographs
    names = {f"{image_id}.jpg": box for image_id, box in boxes.items()}
    found = iter(names.values())
    finder = SimpleNamespace(detect=lambda photo: [Face(next(found), 1.0)])
    rows = [(predict.PhotographRow(name, bytes=1), (folder / name).read_bytes) for name in names]
    done = [row for part in predict.classify_rows(rows, Predictor(Classifier.load(model), 0.5), finder) for row in part]
    return np.array([row.faces[0].probabilities for row in done])


WAYS = (saved_model, saved_model_of_pngs, onnx, command, bulk_job)


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_agree_with_that_of_training(photographs, chips, model, learned, way):
    np.testing.assert_allclose(way(photographs, chips, model), learned, atol=TOLERANCE)


def test_the_network_would_notice_swapped_channels_and_another_resizing(chips, model, learned):
    classifier = Classifier.load(model)
    stored, pixels = chips
    assert learned.min() > 0.02, "it is not so sure that nothing could change its answer"
    assert (np.abs(classifier.predict(pixels[..., ::-1]) - learned).max(axis=1) > 10 * TOLERANCE).all()
    decoded = [images.decode(encoded) for encoded in stored]
    sides = [len(chip) for chip in decoded]
    assert min(sides) < SIZE < 1.5 * SIZE < max(sides) == images.STORED_SIDE
    for interpolation in (cv2.INTER_CUBIC, cv2.INTER_NEAREST):
        other = np.stack([cv2.resize(chip, (SIZE, SIZE), interpolation=interpolation) for chip in decoded])
        assert (np.abs(classifier.predict(other) - learned).max(axis=1) > TOLERANCE).all()


@pytest.mark.parametrize(("way", "where"), [(command, "ml.vision.detection"), (bulk_job, "spark_jobs.predict")])
def test_red_and_blue_swapped_at_reading_break_the_parity(photographs, chips, model, learned, way, where, monkeypatch):
    def swapped(encoded, *warnings, decode=detection.decode_upright):
        return np.ascontiguousarray(decode(encoded, *warnings)[..., ::-1])

    monkeypatch.setattr(f"{where}.decode_upright", swapped)
    assert (np.abs(way(photographs, chips, model) - learned).max(axis=1) > 10 * TOLERANCE).all()
