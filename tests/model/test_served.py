"""A model that MLflow's server serves over HTTP answers as it does here."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml import storage
from ml.model.classifier import Classifier
from ml.model.saved_model import SAVED_MODEL, ask_saved_model
from ml.tracking import experiments, training_run
from ml.vision import images
from ml.workflow.manifest import Manifest
from ml.workflow.supervision import end_process_tree
from ports import HOST, free_port_from
from support.features import make_features
from support.models import make_model
from support.tracking import context_of

pytestmark = pytest.mark.slow
SIZE, START_SECONDS = 32, 180
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
Ask = Callable[[Any], Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def attempt(root: Path) -> Manifest:
    return make_model(root, size=SIZE, sharpness=4.0)


@pytest.fixture(scope="module")
def ask(root: Path, attempt: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Serve the model that a training has logged, by the command of docs/serving.md, and return how to call it."""
    context = context_of(root, make_features(root, {"train": (8, 8), "validation": (4, 4), "test": (4, 4)}), "served")
    classifier = Classifier.load(attempt)
    with training_run.track(context) as tracked:
        tracked.log_model(classifier.network, classifier.description)
        told = tracked.finish({"accuracy": 0.5})
    port, log = free_port_from(15_000), tmp_path_factory.mktemp("served") / "server.log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{told.model_id}"]
    command += ["--env-manager", "local", "--host", HOST, "--port", str(port)]
    settings = {**os.environ, **experiments.SETTINGS, "MLFLOW_TRACKING_URI": told.tracking_uri}
    url = f"http://{HOST}:{port}"

    def call(content: Any) -> Any:
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
        with OPENER.open(request, timeout=60) as answer:
            return json.load(answer)

    with log.open("w") as out, subprocess.Popen(command, env=settings, stdout=out, stderr=out) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(f"{url}/ping"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield call
        finally:
            end_process_tree(server.pid)


def answers(url: str) -> bool:
    try:
        with OPENER.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def chips() -> NDArray[np.uint8]:
    """Chips as stages chip and featurize make them: cut, stored as JPEG and decoded again."""
    random = np.random.default_rng(3)
    noise = [random.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(5)]
    return np.stack([images.decode_chip(images.encode_jpeg(chip), SIZE) for chip in noise])


def test_the_answers_over_http_are_those_of_the_model(ask: Ask, attempt: Manifest, chips: NDArray[np.uint8]) -> None:
    found = np.array(ask({"inputs": chips.tolist()})["predictions"])
    assert found.shape == (len(chips), 2)
    np.testing.assert_allclose(found, Classifier.load(attempt).predict(chips), atol=1e-5)
    assert np.ptp(found[:, 1]) > 0.01, "the chips differ, and so do the answers"


def test_they_are_those_of_the_saved_model_for_the_encoded_chips(
    ask: Ask, attempt: Manifest, chips: NDArray[np.uint8]
) -> None:
    encoded = [images.encode_jpeg(chip) for chip in chips]
    # As a request to TensorFlow Serving carries them.
    carried = [base64.b64decode(base64.b64encode(chip)) for chip in encoded]
    folder = storage.local_path(attempt.uri)
    assert folder is not None
    saved = ask_saved_model(folder / SAVED_MODEL, ["female", "male"], carried)
    pixels = [images.decode_chip(chip, SIZE).tolist() for chip in encoded]
    np.testing.assert_allclose(np.array(ask({"inputs": pixels})["predictions"]), saved, atol=1e-3)


def test_chips_of_another_size_are_refused(ask: Ask, chips: NDArray[np.uint8]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask({"inputs": chips[:, :16].tolist()})
    assert refused.value.code == 400


def test_chips_that_are_scaled_already_become_black_as_the_page_warns(ask: Ask, chips: NDArray[np.uint8]) -> None:
    found, black = (ask({"inputs": sent.tolist()})["predictions"] for sent in (chips / 256, chips * 0))
    np.testing.assert_allclose(found, black, atol=1e-6)
