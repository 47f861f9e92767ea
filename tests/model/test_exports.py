"""The exports: a SavedModel that decodes and resizes as the pipeline does, and an ONNX file; both equal the network."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml import storage
from ml.errors import PreprocessingError
from ml.model import onnx as onnx_file
from ml.model import saved_model as saved_model_file
from ml.model import write
from ml.model.onnx_classifier import ONNX
from ml.vision import images
from support.models import make_model, reds_and_blues

SIZE = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), size=SIZE, sharpness=4.0)


@pytest.fixture(scope="module")
def serve(model):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(storage.local_path(model.uri) / saved_model_file.SAVED_MODEL))
    signature = loaded.signatures["serving_default"]
    signature.of = loaded  # a signature alone does not keep its variables alive
    return lambda chips: {name: values.numpy() for name, values in signature(image_bytes=tf.constant(chips)).items()}


@pytest.fixture(scope="module")
def as_graph():
    import tensorflow as tf

    traced = tf.function(
        lambda chip: saved_model_file.decode_chip(chip, SIZE), input_signature=[tf.TensorSpec((), tf.string)]
    )
    return lambda encoded: traced(encoded).numpy()


def picture(height, width, seed=0):
    """Something between noise and an area of one colour, as photographs are."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)
    return np.clip(smooth + random.integers(-12, 13, (height, width, 3)), 0, 255).astype(np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@settings(max_examples=40)
@given(st.integers(8, 400), st.booleans(), st.integers(0, 9))
def test_a_chip_of_any_size_becomes_what_the_pipeline_makes_of_it(as_graph, side, as_jpeg, seed):
    chip = picture(side, side, seed)
    if side > images.STORED_SIDE:  # the pipeline stores none that is larger
        expected = images.resize(images.resize(chip, images.STORED_SIDE), SIZE)
        found = as_graph(images.encode_png(chip))
    else:
        encoded = images.encode_jpeg(chip) if as_jpeg else images.encode_png(chip)
        expected, found = images.decode_chip(encoded, SIZE), as_graph(encoded)
    # Means that lie between two levels may be rounded either way.
    assert np.abs(found.astype(int) - expected).max() <= (side > SIZE)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "JPEG 4:2:0", "grey JPEG", "16 bit RGB"])
def test_every_kind_of_png_and_jpeg_is_decoded_alike(as_graph, mode):
    pixels = picture(SIZE, SIZE)
    image = Image.fromarray(pixels)
    if mode == "JPEG 4:2:0":
        encoded = saved(image, "JPEG", subsampling=2)
    elif mode == "grey JPEG":
        encoded = saved(image.convert("L"), "JPEG")
    elif mode == "16 bit RGB":
        encoded = cv2.imencode(".png", pixels[:, :, ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
    elif mode == "I;16":
        encoded = saved(Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + 77))
    elif mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(pixels[..., 2]))
        encoded = saved(image.convert(mode))
    else:
        encoded = saved(image.convert(mode))
    np.testing.assert_array_equal(as_graph(encoded), images.decode(encoded))
    assert 60 < as_graph(encoded).mean() < 190, "nothing is cut off"


def test_a_chip_that_is_not_quite_square_has_its_border_repeated(as_graph):
    chip = picture(100, 110)
    expected = np.pad(chip, ((5, 5), (0, 0), (0, 0)), mode="edge")
    np.testing.assert_array_equal(as_graph(images.encode_png(chip)), as_graph(images.encode_png(expected)))


def test_serving_gives_the_probability_of_each_label_under_its_name(serve):
    red, blue = (images.encode_jpeg(np.full((40, 40, 3), c, np.uint8)) for c in ((200, 90, 60), (60, 90, 200)))
    found = serve([red, blue, red])
    assert set(found) == {"female", "male"}
    assert found["female"].shape == (3,)
    assert found["female"][0] > 0.8 > 0.2 > found["female"][1]
    np.testing.assert_allclose(found["female"] + found["male"], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (images.encode_png(picture(100, 121)), "a chip is square"),
        (images.encode_png(picture(121, 100)), "a chip is square"),
        (b"no picture", "PNG"),
        (images.encode_jpeg(picture(50, 50))[:300], "JPEG"),
    ],
)
def test_serving_refuses_what_is_no_chip(serve, data, told):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        serve([images.encode_png(picture(50, 50)), data])


def nested(keras, side):
    """A network with another in it, as those on a backbone are."""
    layers = keras.layers
    inner = keras.Sequential([keras.Input((side, side, 3)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten()])
    pixels = keras.Input((side, side, 3), dtype="uint8")
    features = layers.BatchNormalization()(inner(layers.Rescaling(1 / 127.5, -1)(pixels)))
    return keras.Model(pixels, layers.Dense(2, activation="softmax")(features))


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("compact", "notebook")), "nested"]
)
def test_every_kind_of_network_is_exported_as_it_is(tmp_path, name):
    import keras
    import onnx
    import onnxruntime

    from ml.networks.table import NETWORKS

    keras.utils.set_random_seed(2)
    side = 64
    network = nested(keras, side) if name == "nested" else NETWORKS[name].build(side, 2)
    chips = np.stack([picture(side, side, seed) for seed in range(5)])
    for _ in range(40):
        network(chips, training=True)  # batch statistics of its own, without which a deep network answers all alike
    folder = storage.local_path(make_model(tmp_path, size=side, network=network).uri)
    expected = network(chips, training=False).numpy()
    assert np.ptp(expected[:, 0]) > 1e-3

    encoded = [images.encode_png(chip) for chip in chips]
    found = saved_model_file.ask_saved_model(folder / saved_model_file.SAVED_MODEL, ["female", "male"], encoded)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for count in (1, 5):
        np.testing.assert_allclose(onnx_file.ask_onnx(folder / ONNX, chips[:count]), expected[:count], atol=1e-5)

    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    (given,), (answer, features) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("pixels", "tensor(uint8)", ["batch", side, side, 3])
    assert (answer.name, answer.type, answer.shape) == ("probabilities", "tensor(float)", ["batch", 2])
    assert (features.name, features.type, features.shape[0]) == ("features", "tensor(float)", "batch")
    properties = {prop.key: prop.value for prop in onnx.load(folder / ONNX).metadata_props}
    assert json.loads(properties["labels"]) == ["female", "male"]
    assert float(properties["margin"]) == 0.2


def test_the_exports_are_files_of_the_attempt_in_any_storage(model):
    paths = {file.path for file in model.files}
    assert {
        ONNX,
        f"{saved_model_file.SAVED_MODEL}/saved_model.pb",
        f"{saved_model_file.SAVED_MODEL}/fingerprint.pb",
    } <= paths
    assert sum(path.startswith(f"{saved_model_file.SAVED_MODEL}/variables/variables.") for path in paths) == 2
    assert model.whole()

    from ml.model.classifier import Classifier
    from ml.model.reference import read_reference

    classifier = Classifier.load(model)
    uri = "memory://bucket/attempt"
    write.write_exports(uri, classifier.network, classifier.description, read_reference(model))
    assert set(storage.list_files(uri)) == {path for path in paths if path.startswith(("saved_model/", "model.onnx"))}
    storage.remove("memory://bucket")


@pytest.mark.parametrize("which", ["decode_chip", "ask_onnx"])
def test_an_export_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch, which):
    original = getattr(saved_model_file if which == "decode_chip" else write, which)
    if which == "decode_chip":
        monkeypatch.setattr(saved_model_file, which, lambda encoded, side: original(encoded, side)[..., ::-1])
    else:
        monkeypatch.setattr(write, which, lambda file, pixels: original(file, pixels)[:, ::-1])
    with pytest.raises(PreprocessingError, match="reference chips"):
        make_model(tmp_path, network=reds_and_blues(32))
    assert not list(tmp_path.rglob("saved_model.pb"))
    assert not list(tmp_path.rglob("*.onnx"))
