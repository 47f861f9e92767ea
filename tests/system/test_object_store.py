"""Storage and stages where the root is a bucket of an object store: moto's server on loopback, through s3fs."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.config.deployment import load_deployment
from ml.errors import DataError
from ml.flow.table import STAGES
from ml.release.landing import is_landing
from ml.release.release import find_release, read_classes
from ml.retention.plan import plan
from ml.retention.remove import remove
from ml.tracking import experiments
from ml.workflow import lease
from ml.workflow.execution import Result, run_stage
from ml.workflow.manifest import load_manifest
from ml.workflow.opening import open_run
from ml.workflow.run import load_run
from support.layouts import write_layout
from support.records import Stated

pytestmark = pytest.mark.cluster
EXTRACT, EXPLORE = STAGES["extract"], replace(STAGES["explore"], inputs=("extract",))
BUCKET = "open-images"


@pytest.fixture(scope="module")
def server():
    """An S3 server, and the settings by which fsspec finds it, as a deployment would have them in its environment."""
    import s3fs
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in {
        "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "FSSPEC_S3_KEY": "key",
        "FSSPEC_S3_SECRET": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        patch.setenv(name, value)
    configuration = dict(fsspec.config.conf)
    fsspec.config.set_conf_env(fsspec.config.conf)  # at import fsspec has read the environment as it then was
    s3fs.S3FileSystem.clear_instance_cache()
    yield moto
    s3fs.S3FileSystem.clear_instance_cache()
    fsspec.config.conf.clear()
    fsspec.config.conf.update(configuration)
    patch.undo()
    moto.stop()


@pytest.fixture
def root(server):
    """A root in a bucket that is made for the test and emptied after it."""
    fs, _ = storage.filesystem(f"s3://{BUCKET}")
    fs.mkdir(BUCKET)
    yield f"s3://{BUCKET}/some/root"
    fs.rm(BUCKET, recursive=True)


@pytest.fixture
def opened(root, sample_release):
    def open_(run_id="run", **values):
        return open_run(root, run_id, {"release": str(sample_release), **values})

    return open_


def parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"number": list(range(rows))}), buffer)
    return buffer.getvalue()


def work(calls):
    def body(context):
        calls.append(context.uri)
        storage.write_bytes(context.path("boxes", "part-0.parquet"), parquet(3))
        storage.write_bytes(context.path("boxes", "part-1.parquet"), parquet(4))
        return Result(Stated(metric=1), {"kept": 7})

    return body


def test_files_are_written_read_listed_and_removed(root):
    folder = storage.join(root, "folder")
    assert not storage.exists(storage.join(folder, "a.json"))
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(folder, "a.json"))
    storage.write_json(storage.join(folder, "a.json"), {"one": 1})
    storage.write_bytes(storage.join(folder, "below", "b.bin"), b"12345")
    storage.write_bytes(storage.join(folder, "_temporary", "c.bin"), b"in the making")
    assert storage.read_json(storage.join(folder, "a.json")) == {"one": 1}
    assert storage.read_bytes(storage.join(folder, "below", "b.bin")) == b"12345"
    listed = storage.list_files(folder)
    assert set(listed) == {"a.json", "below/b.bin"}
    assert listed["below/b.bin"] == 5
    storage.write_bytes(storage.join(folder, "below", "b.bin"), b"1234567")
    assert storage.list_files(folder)["below/b.bin"] == 7
    assert storage.list_files(storage.join(root, "absent")) == {}
    storage.remove(storage.join(folder, "below"))
    storage.remove(storage.join(folder, "below"))  # nothing happens where there is none
    assert set(storage.list_files(folder)) == {"a.json"}
    assert storage.exists(folder)


def test_a_key_that_begins_like_another_is_not_listed_below_it(root):
    storage.write_bytes(storage.join(root, "key", "a"), b"1")
    storage.write_bytes(storage.join(root, "key-2", "b"), b"2")
    assert set(storage.list_files(storage.join(root, "key"))) == {"a"}
    storage.remove(storage.join(root, "key"))
    assert storage.exists(storage.join(root, "key-2", "b"))


@pytest.mark.parametrize("flat", [False, True])
def test_a_release_in_a_bucket_is_recognized(root, sample_release, tmp_path, flat):
    release = write_layout(sample_release, tmp_path, version=7, flat=flat, compressed=True)
    fs, path = storage.filesystem(root)
    fs.put(f"{release}/", f"{path}/", recursive=True)
    found = find_release(root)
    assert found.version == "V7"
    assert found.tables.keys() == {"labels", "boxes", "images", "miap"}
    assert read_classes(found.classes) == read_classes(find_release(str(sample_release)).classes)
    assert not is_landing(root)
    assert storage.list_folder(storage.join(root, "absent")) == {}


def test_another_process_sees_at_once_what_was_written(root):
    # s3fs keeps listings: what another process writes, as Spark does, must be seen all the same.
    folder = storage.join(root, "folder")
    storage.write_bytes(storage.join(folder, "a"), b"1")
    assert set(storage.list_files(folder)) == {"a"}
    other = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    other.pipe_file(f"{folder}/b".removeprefix("s3://"), b"22")
    assert set(storage.list_files(folder)) == {"a", "b"}
    assert storage.exists(storage.join(folder, "b"))
    other.pipe_file(f"{folder}/a".removeprefix("s3://"), b"333")
    assert storage.list_files(folder)["a"] == 3


def test_a_stage_is_committed_and_found_again_in_a_bucket(opened):
    calls = []
    run = opened("manual__2026-01-01T00:00:00+00:00")
    assert run.uri.startswith(f"s3://{BUCKET}/some/root/runs/manual__")
    assert load_run(run.uri) == run
    manifest = run_stage(run, EXTRACT, work(calls))
    assert manifest.uri.startswith(f"s3://{BUCKET}/some/root/stages/extract/")
    (part,) = manifest.of_deliveries()
    assert part.uri.startswith(f"s3://{BUCKET}/some/root/stages/extract/")
    assert manifest.table("boxes") == [f"{part.uri}/boxes/part-{n}.parquet" for n in (0, 1)]
    assert manifest.rows("boxes") == 7
    assert manifest.whole()
    assert load_manifest(manifest.uri) == manifest
    again = opened("again")
    assert again.find_or_adopt(EXTRACT) == manifest
    assert run_stage(again, EXTRACT, work(calls)) == manifest
    assert run_stage(again, EXPLORE, work(calls)).inputs == {"extract": manifest.uri}
    assert len(calls) == 2
    assert list(again.pins()) == ["extract", "explore"]
    assert storage.local_path(run.uri) is None


def test_a_stage_that_fails_or_loses_a_file_is_not_found_in_a_bucket(opened):
    run = opened()

    def broken(context):
        storage.write_bytes(context.path("boxes", "part-0.parquet"), parquet(3))
        raise DataError("bad rows", "mend them")

    with pytest.raises(DataError):
        run_stage(run, EXTRACT, broken, attempt="one")
    uri = storage.join(run.key_uri(EXTRACT), "attempts", "one")
    assert storage.read_json(storage.join(uri, "error.json"))["kind"] == "data"
    assert run.find_or_adopt(EXTRACT) is None
    manifest = run_stage(run, EXTRACT, work([]))
    assert run.find_or_adopt(EXTRACT) == manifest
    storage.remove(manifest.file("boxes/part-1.parquet"))
    assert run.find_or_adopt(EXTRACT) is None


def test_a_bucket_is_cleaned_up(opened, root, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "tracking_uri", lambda root: f"{experiments.SQLITE}{tmp_path / 'absent.db'}")
    stage = replace(EXTRACT, sources=("tables",), by_delivery=False)  # one attempt each time
    old, other = opened("old"), opened("other", max_fault_share=0.2)

    def crash(context):
        storage.write_bytes(context.path("boxes", "_temporary", "part-0.parquet"), parquet(3))
        raise DataError("bad rows", "mend them")

    with pytest.raises(DataError):
        run_stage(old, stage, crash, "crashed")
    crashed = storage.join(old.key_uri(stage), "attempts", "crashed")
    found, lost = run_stage(old, stage, work([])), run_stage(other, stage, work([]))
    moment = {"grace_hours": 1e-9, "run_days": 1e-9}
    time.sleep(1.1)  # an object's time has whole seconds
    listed = plan(root, moment, load_deployment())
    assert {item.uri for item in listed.items} == {old.uri, other.uri, crashed, found.uri, lost.uri}
    new = opened("new")
    assert new.find_or_adopt(stage) == found
    outcome = remove(listed, load_deployment())
    assert {item.uri for item in outcome.removed} == {old.uri, other.uri, crashed, lost.uri}
    assert [(item.uri, item.reason) for item in outcome.stayed] == [(found.uri, "a run holds it")]
    left = {path.partition("/")[0] for path in storage.survey(root)}
    assert left == {"digests", "maintenance", "runs", "stages"}
    assert set(storage.survey(storage.join(root, "runs"))) == {f"{new.slug}/run.json", f"{new.slug}/pins/extract.json"}
    assert new.find_or_adopt(stage) == found


def test_of_several_that_create_a_file_in_a_bucket_one_succeeds(root):
    uri = storage.join(root, "file")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: storage.create_bytes(uri, str(number).encode()), range(8)))
    assert sum(created) == 1
    assert storage.read_bytes(uri) == str(created.index(True)).encode()


def test_jobs_at_once_do_the_work_in_a_bucket_once(opened, monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)
    calls, runs = [], [opened(f"run {number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda run: run_stage(run, EXTRACT, work(calls)), runs))
    assert len(calls) == 1
    assert len({manifest.uri for manifest in done}) == 1
    assert not any("lease-" in path for path in storage.survey(runs[0].root))


def test_a_store_that_loses_leases_costs_work_and_spoils_nothing(opened, monkeypatch):
    monkeypatch.setattr(lease, "newest", lambda folder: None)
    monkeypatch.setattr(storage, "create_bytes", lambda uri, data: True)
    calls, runs, barrier = [], [opened("a"), opened("b")], threading.Barrier(2, timeout=60)

    def body(context):
        barrier.wait()  # both work at once
        return work(calls)(context)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda run: run_stage(run, EXTRACT, body), runs))
    assert len(calls) == 2
    assert all(part.whole() for manifest in done for part in manifest.of_deliveries())


@pytest.mark.parametrize(
    ("uri", "hadoop"),
    [
        ("s3://bucket/some/root", "s3a://bucket/some/root"),
        ("s3a://bucket/root", "s3a://bucket/root"),
        ("gcs://bucket/root", "gs://bucket/root"),
        ("gs://bucket/root", "gs://bucket/root"),
        ("az://container/root", "abfss://container/root"),
        ("hdfs://name:8020/root", "hdfs://name:8020/root"),
        ("/data/storage/", "file:///data/storage"),
    ],
)
def test_spark_is_given_hadoops_name_of_a_scheme(uri, hadoop):
    assert storage.hadoop_uri(uri) == hadoop
