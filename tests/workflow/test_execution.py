"""A stage's work is found again by its key, is never read half done, and its failures say what to do."""

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError, ResourceError, TransientError
from ml.flow.table import STAGES, downstream_of
from ml.workflow.execution import Result, run_stage
from ml.workflow.manifest import load_manifest
from ml.workflow.opening import open_run
from ml.workflow.run import load_run, slug
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
from support.records import Stated

EXTRACT, JOIN = STAGES["extract"], STAGES["join_labels"]
EXPLORE = replace(STAGES["explore"], inputs=("extract",))  # needs no other stage


def body(calls, text="done"):
    def work(context):
        calls.append(context.uri)
        storage.write_bytes(context.path("table", "part.txt"), text.encode())
        return Result(Stated(metric=1), {"kept": 2})

    return work


def test_a_run_of_another_version_of_the_program_is_rejected(opened):
    run = opened()
    uri = storage.join(run.uri, "run.json")
    record = storage.read_json(uri)
    storage.write_json(uri, {name: value for name, value in record.items() if name != "deliveries"})
    with pytest.raises(ConfigurationError, match=r"run.json was written by another version.*deliveries"):
        load_run(run.uri)
    storage.write_json(uri, {**record, "config": {**record["config"], "removed_since": 1}})
    with pytest.raises(ConfigurationError, match=r"run.json was written by another version.*removed_since"):
        load_run(run.uri)


def test_work_done_is_found_by_another_run_with_the_same_inputs(opened):
    calls = []
    first = run_stage(opened("a"), EXTRACT, body(calls))
    second = run_stage(opened("b"), EXTRACT, body(calls))
    assert len(calls) == 1
    assert first == second
    assert opened("b").find_or_adopt(EXTRACT) == first
    assert (first.metrics, first.ledger) == ({"metric": 1}, {"kept": 2})
    (part,) = first.of_deliveries()
    assert [(f.path, f.bytes) for f in part.files] == [("table/part.txt", 4)]


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"labels": {"a": ["Boy"], "b": ["Girl"]}}, {"extract", "explore", "join_labels"}),
        ({"images_per_label": 5}, {"join_labels"}),
        ({"epochs": 3}, set()),
    ],
)
def test_a_changed_parameter_redoes_what_depends_on_it_and_nothing_else(opened, change, redone):
    def do(run):
        calls = []
        for stage in (EXTRACT, EXPLORE, JOIN):
            run_stage(run, stage, body(calls))
        return {uri.split("/stages/")[1].split("/")[0] for uri in calls}

    assert do(opened("a")) == {"extract", "explore", "join_labels"}
    assert do(opened("b", **change)) == redone


def test_a_changed_file_of_the_release_redoes_the_work(release_copy, tmp_path):
    def do(run_id):
        calls = []
        run = open_run(str(tmp_path / "storage"), run_id, {"release": str(release_copy)})
        for stage in (EXTRACT, EXPLORE):
            run_stage(run, stage, body(calls))
        return len(calls)

    assert do("a") == 2
    assert do("b") == 0
    photo = next((release_copy / "train").glob("*.jpg"))
    photo.write_bytes(photo.read_bytes() + b" ")
    assert do("c") == 1  # explore reads photographs, extract does not
    boxes = release_copy / "v5" / "test-annotations-bbox.csv"
    lines = boxes.read_text().splitlines(keepends=True)
    boxes.write_text("".join([*lines, lines[-1]]))
    assert do("d") == 2


@pytest.mark.parametrize("field", ["backbone_weights", "exclude_faces"])
def test_another_file_at_the_same_place_gives_training_another_key(field, tmp_path):
    def key(named):
        return STAGES["train"].key(TrainingConfig(**{field: named}), {"featurize": "f"}, {})

    file = tmp_path / "file"
    absent = key(str(file))
    file.write_bytes(b"one")
    one = key(str(file))
    file.write_bytes(b"other")
    other = key(str(file))
    assert len({absent, one, other}) == 3
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    assert key(str(file)) == one, "by its content, not its time"
    uri = f"memory://{field}/file"
    absent = key(uri)
    storage.write_bytes(uri, b"one")
    assert key(uri) != absent


def test_without_a_file_trainings_keys_are_those_of_its_parameters():
    stage = STAGES["train"]
    for weights in ("imagenet", "none"):
        config = TrainingConfig(backbone_weights=weights)
        content = {"stage": "train", "version": stage.version, "config": config.part(stage.fields)}
        content |= {"inputs": {"featurize": "f"}, "sources": {}}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        assert stage.key(config, {"featurize": "f"}, {}) == digest[:32]


def test_force_redoes_the_stage_and_those_downstream_once(opened):
    calls = []
    first = opened("a")
    for stage in (EXTRACT, EXPLORE, JOIN):
        run_stage(first, stage, body(calls))
    forced = opened("b", force="join_labels")
    for stage in (EXTRACT, EXPLORE, JOIN, JOIN):
        run_stage(forced, stage, body(calls))
    assert len(calls) == 5
    below = {"join_labels", "chip", "featurize", "explore", "train", "evaluate", "suspects", "compare"}
    assert downstream_of("join_labels") == below


@pytest.mark.parametrize(
    ("raised", "kind", "expected"),
    [
        (DataError("bad rows", "mend them"), "data", DataError),
        (ConfigurationError("wrong"), "configuration", ConfigurationError),
        (OSError(28, "No space left on device"), "resource", ResourceError),
        # As an error in one of Spark's tasks arrives: the text of another exception.
        (RuntimeError("Job aborted\nOSError: [Errno 28] No space left on device: 'a'"), "resource", ResourceError),
        (MemoryError(), "resource", ResourceError),
        (ConnectionError("reset by peer"), "passing", TransientError),
    ],
)
def test_a_failure_leaves_error_json_and_nothing_to_read(opened, raised, kind, expected):
    run = opened()

    def work(context):
        storage.write_bytes(context.path("half.txt"), b"half")
        raise raised

    with pytest.raises(expected):
        run_stage(run, EXTRACT, work, attempt="one")
    uri = storage.join(run.key_uri(EXTRACT), "attempts", "one")
    error = storage.read_json(storage.join(uri, "error.json"))
    assert error["kind"] == kind
    assert error["message"]
    assert run.find_or_adopt(EXTRACT) is None
    with pytest.raises(DataError, match="never committed"):
        load_manifest(uri)
    with pytest.raises(DataError, match="extract has not been done"):
        run.pinned("extract")
    assert run_stage(run, EXTRACT, body([])).attempt != "one"


SAFE_MODE = r'RPCError("org.apache.hadoop.hdfs.server.SafeModeException", "Name node is in safe mode.\n\tat a.b(C")'


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "Cannot write error.json: [Errno 30] Read-only file system"),
        # The client of HDFS raises no OSError.
        (RuntimeError(SAFE_MODE), "Cannot write error.json: HDFS is in safe mode: Name node is in safe mode."),
    ],
)
def test_a_store_that_takes_no_error_json_does_not_hide_the_error(opened, monkeypatch, caplog, refusal, told):
    def refuse(uri, data, **options):
        raise refusal

    def work(context):
        monkeypatch.setattr(storage, "write_bytes", refuse)
        raise DataError("Two faces have one id.", "Correct the file.")

    with caplog.at_level("WARNING"), pytest.raises(DataError, match="Two faces have one id"):
        run_stage(opened(), EXTRACT, work)
    assert told in caplog.text


def test_an_error_keeps_no_secret(opened, monkeypatch):
    """`error.json` is shown on the report page."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "PLANTED10x8Qz")
    run = opened()

    def work(context):
        raise OSError("PUT https://key:PLANTED11x8Qz@store/x with PLANTED10x8Qz was refused")

    with pytest.raises(TransientError, match="refused"):
        run_stage(run, EXTRACT, work, attempt="one")
    uri = storage.join(run.key_uri(EXTRACT), "attempts", "one", "error.json")
    assert "PUT https://***@store/x with *** was refused" in storage.read_json(uri)["message"]


def test_an_error_of_sparks_is_told_on_one_line_without_javas_frames(opened):
    told = (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ": org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed).\n"
        "\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator$$anonfun$1.apply(PythonRunner.scala:7)\n"
        "\tat java.base/java.lang.Thread.run(Thread.java:840)\n\nDriver stacktrace:\n"
        "Caused by: java.io.EOFException\n\t... 22 more\n"
    )

    def work(context):
        raise RuntimeError(told)

    with pytest.raises(TransientError) as raised:
        run_stage(opened(), EXTRACT, work)
    assert raised.value.message == (
        "RuntimeError: An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe. "
        ": org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed). "
        "Caused by: java.io.EOFException"
    )


def _write_slowly(run_uri, started):
    def work(context):
        storage.write_bytes(context.path("table", "part.txt"), b"half")
        started.set()
        time.sleep(60)
        return Result()

    run_stage(load_run(run_uri), EXTRACT, work)


def test_a_stage_killed_while_writing_leaves_nothing_readable_and_is_done_again(opened):
    run = opened()
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_write_slowly, args=(run.uri, started))
    process.start()
    assert started.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert run.find_or_adopt(EXTRACT) is None
    attempts = storage.join(run.root, "stages", "extract", run.part_key(EXTRACT, run.deliveries[0]), "attempts")
    assert list(storage.list_files(attempts)) != []  # the unfinished files exist, but nothing reads them
    assert run_stage(run, EXTRACT, body([])).of_deliveries()[0].files[0].bytes == 4
    assert run.find_or_adopt(EXTRACT) is not None


def _work_at_once(run_uri, barrier, queue):
    def work(context):
        barrier.wait(20)
        storage.write_bytes(context.path("table", "part.txt"), context.uri.encode())
        barrier.wait(20)
        return Result(Stated(attempt=context.uri))

    queue.put(run_stage(load_run(run_uri), EXTRACT, work).parts["release"])


def test_two_runs_that_work_at_once_do_not_spoil_one_another(opened):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(2), context.Queue()
    runs = [opened(name, force="extract") for name in ("a", "b")]  # which wait for nobody
    processes = [context.Process(target=_work_at_once, args=(run.uri, barrier, queue)) for run in runs]
    for process in processes:
        process.start()
    done = {queue.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
    assert len(done) == 2
    pinned = {run.pinned("extract").parts["release"] for run in runs}
    assert pinned == done
    for run in runs:
        (manifest,) = run.pinned("extract").of_deliveries()
        assert storage.read_bytes(manifest.file("table/part.txt")).decode() == manifest.uri
        assert manifest.whole()
    assert opened("c").find_or_adopt(EXTRACT).parts["release"] in done


def test_work_whose_files_were_removed_is_not_found(opened):
    run = opened()
    manifest = run_stage(run, EXTRACT, body([]))
    storage.remove(manifest.file("table/part.txt"))
    assert run.find_or_adopt(EXTRACT) is None


def test_a_job_whose_supervisor_has_ended_does_not_commit(opened, monkeypatch):
    host, pid, started = identity().split("|")
    monkeypatch.setattr("ml.workflow.supervision.Supervision.start", lambda self: None)
    monkeypatch.setenv(
        SUPERVISOR_VARIABLE, f"{host}|{pid}|{float(started) - 100}"
    )  # the id was taken by another process
    run = opened()
    with pytest.raises(TransientError, match="has ended"):
        run_stage(run, EXTRACT, body([]))
    assert run.find_or_adopt(EXTRACT) is None
    monkeypatch.setenv(SUPERVISOR_VARIABLE, identity())
    assert run_stage(run, EXTRACT, body([]))


def test_a_damaged_manifest_is_named(opened):
    manifest = run_stage(opened(), EXTRACT, body([]))
    storage.write_bytes(storage.join(manifest.uri, "manifest.json"), b"{}")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        load_manifest(manifest.uri)


def test_the_run_folder_holds_the_validated_configuration(opened):
    run = opened("manual__2026-01-01T00:00:00+00:00", epochs="4")
    assert run.slug.startswith("manual__2026-01-01T00-00-00-00-00")
    assert load_run(run.uri) == run
    assert json.loads(storage.read_bytes(storage.join(run.uri, "run.json")))["config"]["epochs"] == 4
    assert len({slug("a:b"), slug("a+b"), slug("a:b", "prediction"), slug("a:b", "promotion")}) == 4
    with pytest.raises(ConfigurationError, match="no run"):
        load_run(storage.join(run.root, "runs", "absent"))


def test_a_damaged_manifest_is_reported_and_its_stage_not_redone_silently(opened):
    calls = []
    done = run_stage(opened(), EXTRACT, body(calls))
    for manifest in (done, *done.of_deliveries()):
        storage.write_bytes(storage.join(manifest.uri, "manifest.json"), b"{half")
    with pytest.raises(DataError, match="is damaged"):
        run_stage(opened("again"), EXTRACT, body(calls))
    assert len(calls) == 1
