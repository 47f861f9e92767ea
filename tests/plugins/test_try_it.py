"""The child process of 'Try it': started once, ended when it takes too long, when nobody asks, and without secrets."""

import contextlib
import sys
import threading
import time

import psutil
import pytest

from ml.config.prediction import PredictionConfig
from open_images.web import try_it
from open_images.web.try_it import BusyError, Explainer, NoAnswerError

CONFIG = PredictionConfig(min_confidence=0.75, max_risk=0.05)
SENT = {
    **{"min_confidence": 0.75, "max_risk": 0.05},
    "finding": {"detector": CONFIG.detector, "min_face": None, "file": None},
}
# Answers with its process id, its environment's names, and what it was asked; the model's name says what to do.
CHILD = """
import json, os, sys, time
source, target = sys.stdin.buffer, sys.stdout.buffer
while head := source.read(4):
    request = json.loads(source.read(int.from_bytes(head, "big")))
    photograph = source.read(request["bytes"])
    if request["model"] == "dies":
        os._exit(1)
    if request["model"] == "sleeps":
        time.sleep(60)
    told = {"pid": os.getpid(), "names": sorted(os.environ), "photograph": photograph.decode(), "fault": None}
    told["request"] = request
    content = json.dumps(told).encode()
    target.write(len(content).to_bytes(4, "big") + content)
    target.flush()
"""


@pytest.fixture
def make(monkeypatch):
    """Make an explainer whose child is the small program above."""
    monkeypatch.setattr(try_it, "COMMAND", (sys.executable, "-c", CHILD))
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", "secret")
    made = []

    def make_(**seconds):
        made.append(Explainer(**seconds))
        return made[-1]

    yield make_
    for explainer in made:
        explainer.end()


def ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_one_child_answers_all_and_knows_no_secret_of_airflows(make):
    explainer = make()
    first, second = explainer.ask("model", CONFIG, b"one"), explainer.ask("model", CONFIG, b"two")
    assert first["pid"] == second["pid"]
    assert (first["photograph"], second["photograph"]) == ("one", "two")
    assert first["request"] == {"model": "model", **SENT, "bytes": 3}
    other = CONFIG.model_copy(update={"detector_file": "/absent.onnx"})  # of yunet, which is not asked
    assert explainer.ask("model", other, b"x")["request"]["finding"] == SENT["finding"]
    assert not [name for name in first["names"] if name.startswith("AIRFLOW")]


def test_a_child_that_ends_or_takes_too_long_is_replaced(make):
    explainer = make(answer_seconds=0.5)
    with pytest.raises(NoAnswerError):
        explainer.ask("dies", CONFIG, b"x")
    with pytest.raises(NoAnswerError):
        explainer.ask("sleeps", CONFIG, b"x")
    explainer._answer_seconds = 30.0
    assert explainer.ask("model", CONFIG, b"x")["photograph"] == "x"


def test_one_photograph_is_answered_at_a_time(make):
    explainer = make(answer_seconds=30.0, turn_seconds=0.1)

    def wait_for_an_answer():
        with contextlib.suppress(NoAnswerError):
            explainer.ask("sleeps", CONFIG, b"x")

    first = threading.Thread(target=wait_for_an_answer)
    first.start()
    while explainer._child is None:
        time.sleep(0.01)
    with pytest.raises(BusyError):
        explainer.ask("model", CONFIG, b"x")
    explainer._child.kill()
    first.join()


def test_a_child_that_nobody_asks_is_ended(make):
    explainer = make(idle_seconds=0.05)
    pid = explainer.ask("model", CONFIG, b"x")["pid"]
    deadline = time.monotonic() + 20
    while not ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert explainer.ask("model", CONFIG, b"x")["pid"] != pid


def test_a_child_ends_with_its_standard_input(make):
    explainer = make()
    pid = explainer.ask("model", CONFIG, b"x")["pid"]
    explainer._child.stdin.close()
    assert psutil.Process(pid).wait(20) == 0
