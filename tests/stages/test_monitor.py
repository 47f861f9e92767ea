"""Monitoring tells whether the faces and answers of a bulk prediction are like those of the model's training."""

from __future__ import annotations

import html
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.config.deployment import Deployment
from ml.features.histograms import EDGES
from ml.flow.table import MONITOR, PREDICT
from ml.metrics.monitoring import MonitoringMetrics, MonitoringRecord
from ml.prediction.record import PredictionsRecord
from ml.prediction.run import open_prediction
from ml.stages.monitor import monitor
from ml.vision.images import encode_jpeg
from ml.workflow.execution import Result, run_stage
from ml.workflow.manifest import load_manifest
from support.promotions import make_candidate

RANDOM = np.random.default_rng(5)
FACES = 4000


def drawn(size=120.0, brightness=0.5, probability=(0.02, 0.98), second=0.5):
    """Draw faces: side in pixels, brightness, and the second label's probability."""
    chosen = RANDOM.random(FACES) < second
    return {
        "side": np.maximum(20, RANDOM.normal(size, 10, FACES)).astype(int),
        "brightness": RANDOM.normal(brightness, 0.05, FACES).clip(0, 1),
        "probability": np.where(chosen, probability[1], probability[0]) + RANDOM.uniform(-0.02, 0.02, FACES),
    }


def rewrite(manifest, **metrics):
    """Change the metrics of an attempt."""
    content = json.loads(storage.read_bytes(f"{manifest.uri}/manifest.json"))
    content["metrics"] |= metrics
    storage.write_json(f"{manifest.uri}/manifest.json", content)


def histogram(column, values):
    edges = EDGES[column]
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return {"edges": edges, "counts": counts.tolist()}


@pytest.fixture
def model(tmp_path):
    """A trained and evaluated model, with what its training and its test faces look like."""
    candidate = make_candidate(tmp_path / "storage", "trained")
    faces = drawn()
    of_training = {
        "face_px": histogram("face_px", faces["side"]),
        "brightness": histogram("brightness", faces["brightness"]),
    }
    rewrite(load_manifest(candidate.trained.inputs["featurize"]), histograms=of_training)
    tested = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"probability": drawn()["probability"].astype(np.float32)}), tested)
    rewrite(candidate.evaluated, predictions=storage.normalize(tested))
    return candidate


@pytest.fixture
def monitored(model, tmp_path):
    """Write a prediction of faces, and return what the stage found about it."""
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.jpg").write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))

    def monitored_(faces):
        values = {"photographs": str(tmp_path / "photographs"), "model": model.trained.uri}
        run = open_prediction(str(tmp_path / "storage"), "bulk", values, Deployment())

        def predict(context):
            count = len(faces["side"])
            table = {
                **{name: np.zeros(count, np.int32) for name in ("left", "top")},
                **{name: faces["side"].astype(np.int32) for name in ("right", "bottom")},
                "brightness": faces["brightness"],
                "probability_male": faces["probability"],
            }
            buffer = pa.BufferOutputStream()
            pq.write_table(pa.table(table), buffer)
            storage.write_bytes(context.path("faces", "part.parquet"), buffer.getvalue().to_pybytes())
            return Result(
                PredictionsRecord(
                    photographs=1,
                    faces={"female": count, "male": 0, "unknown": 0},
                    labels=["female", "male"],
                    meaning="as perceived",
                    threshold=0.5,
                    model=model.trained.uri,
                    sample=context.path("sample"),
                )
            )

        run_stage(run, PREDICT, predict)
        return run_stage(run, MONITOR, monitor).record(MonitoringRecord)

    return monitored_


def shifts(record):
    return {shift.name: shift.level for shift in record.shifts}


def test_photographs_like_those_of_the_training_raise_no_alarm(monitored):
    found = monitored(drawn())
    assert shifts(found) == dict.fromkeys(("answers", "confidence", "face_px", "brightness"), "none")
    assert (found.level, found.missing, found.faces) == ("none", "", FACES)
    assert found.line == "Faces and answers are like those of the model's training."


@pytest.mark.parametrize(
    ("faces", "name"),
    [
        ({"size": 60.0}, "face_px"),
        ({"brightness": 0.25}, "brightness"),
        ({"probability": (0.35, 0.65)}, "confidence"),
        ({"second": 0.9}, "answers"),
    ],
)
def test_what_differs_is_named_and_nothing_else(monitored, faces, name):
    found = monitored(drawn(**faces))
    assert {each for each, level in shifts(found).items() if level != "none"} == {name}
    assert found.level == "large"
    page = html.unescape(storage.read_bytes(found.report).decode())
    assert found.line in page
    assert "Faces or answers differ (large)" in found.line


def test_the_file_holds_what_a_page_needs_to_draw_it(monitored):
    found = monitored(drawn(second=0.9))
    content = MonitoringMetrics.model_validate_json(storage.read_bytes(found.metrics))
    assert sum(content.current.histograms["confidence"].counts) == FACES
    assert content.current.categories["answers"]["male"] == pytest.approx(0.9 * FACES, rel=0.05)
    assert content.reference.categories["answers"]["male"] == pytest.approx(0.5 * FACES, rel=0.1)


def test_without_an_evaluation_the_answers_are_not_compared(monitored, model):
    storage.remove(model.evaluated.uri)
    found = monitored(drawn(second=0.9))
    assert set(shifts(found)) == {"face_px", "brightness"}
    assert "answers and confidence" in found.missing
    assert found.level == "none"


def test_nothing_is_left_to_compare_with(monitored, model):
    storage.remove(model.evaluated.uri)
    storage.remove(model.trained.inputs["featurize"])
    found = monitored(drawn())
    assert (found.shifts, found.level) == ((), "none")
    assert found.line == "Nothing of the model's training is left to compare with."


def test_a_prediction_without_faces_is_compared_without_an_error(monitored):
    empty = {name: values[:0] for name, values in drawn().items()}
    assert set(shifts(monitored(empty)).values()) <= {"none"}
