"""The training DAG on a real HDFS and a real YARN, whose containers cannot see the project's folder.

Release, photographs (in Parquet files), storage and the packed environment lie in HDFS. The tests build on one another.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import pack_environment
import stack_test
from ml import storage
from ml.errors import TransientError
from ml.flow.table import STAGES
from ml.photographs.pack import pack
from ml.sample.release import write_sample_release
from ml.store_faults import explain
from ml.workflow.content import first_difference
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from ml.workflow.run import Run, load_run, slug
from spark_jobs.package import code_archive
from support.airflow_root import ROOT, SMALL, SPARK_CONF, Airflow, make_root, running, submit, wait_for
from support.daemons import Daemon, free_ports, listens, started
from support.hadoop import Hadoop, hadoop
from support.spark_stages import BODIES

pytestmark = pytest.mark.stack
TRAINING = "open_images_training"
ON_YARN = {
    "spark.executor.instances": "1",
    "spark.executor.memory": "768m",
    "spark.driver.memory": "768m",
    "spark.yarn.am.memory": "512m",
    "spark.yarn.queue": "training",
    "spark.pyspark.python": "./environment/bin/python",
}


@pytest.fixture(scope="module")
def cluster(folder) -> Iterator[Hadoop]:
    with hadoop(folder, hidden=ROOT) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def release(cluster, folder) -> str:
    """A release in HDFS; its photographs are packed."""
    local, there = folder / "release", f"{cluster.root}/release"
    write_sample_release(local, scenes=60, seed=3)
    for name in storage.list_files(str(local)):
        if name.endswith(".csv"):
            storage.write_bytes(f"{there}/{name}", (local / name).read_bytes())
    for packed in (folder / "photographs", f"{there}/photographs"):
        pack(str(local), str(packed), "parquet")
    return there


@pytest.fixture(scope="module")
def conf(cluster) -> dict[str, str]:
    """Spark's settings, and the packed environment that they name, in HDFS."""
    archive = f"{cluster.root}/environment.tar.gz"
    fs, path = storage.filesystem(archive)
    fs.put_file(str(stack_test.WORKERS), path)
    spark = f"{cluster.root}/spark.zip"
    pack_environment.pack_spark(spark)
    return {**SPARK_CONF, **ON_YARN, "spark.archives": f"{archive}#environment", "spark.yarn.archive": spark}


@pytest.fixture(scope="module")
def tracking(folder) -> Iterator[str]:
    """An MLflow server, which a storage that is not on this machine needs."""
    (port,) = free_ports(1)
    store = folder / "mlflow"
    store.mkdir()
    program = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    options = ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store)]
    command = [*program, *options, "--workers", "1"]
    with started(Daemon("mlflow", command, os.environ, folder / "mlflow.log", lambda: listens(port))):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def airflow(cluster, release, conf, tracking, tmp_path_factory) -> Iterator[Airflow]:
    root = tmp_path_factory.mktemp("yarn") / "root"
    make_root(root, Path(release))
    deployment = root / "var" / "deployment.yaml"
    where = f"{cluster.root}/storage"
    content = yaml.safe_load(deployment.read_text()) | SMALL
    content |= {"storage": where, "release": release, "photographs": f"{release}/photographs", "mlflow": tracking}
    deployment.write_text(yaml.safe_dump(content | {"spark_conf": conf}))
    with pytest.MonkeyPatch.context() as patch:
        connection = '{"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": "client"}}'
        patch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
        with running(root, TRAINING) as (client, password):
            yield Airflow(root, Path("/nowhere"), client, password, TRAINING)


@pytest.fixture(scope="module")
def trained(airflow, cluster) -> Run:
    """The run of a training that was triggered by the REST API."""
    run_id = airflow.trigger()
    state = airflow.wait_to_end(run_id, 1500)
    assert state == "success", f"{airflow.states(run_id)}\n{cluster.told()}"
    return load_run(f"{cluster.root}/storage/runs/{slug(run_id)}")


@pytest.fixture(scope="module")
def local(spark, trained, folder, tmp_path_factory) -> Run:
    """The same data stages on this machine."""
    places = {"release": str(folder / "release"), "photographs": str(folder / "photographs")}
    values = {**trained.config.model_dump(), **places}
    run = open_run(str(tmp_path_factory.mktemp("local")), "local", values)
    for stage, body in BODIES.items():
        run_stage(run, STAGES[stage], lambda context, body=body: body(spark, context))
    return run


def test_the_training_gives_what_it_gives_on_one_machine(trained, local):
    for stage in BODIES:
        assert first_difference(local.pinned(stage), trained.pinned(stage)) is None, stage


def test_the_jobs_ran_on_yarn_in_their_queue(cluster, trained):
    found = {app["id"]: (app["finalStatus"], app["queue"].rpartition(".")[2]) for app in cluster.applications()}
    for stage in BODIES:
        assert found[trained.pinned(stage).metrics["spark_application"]] == ("SUCCEEDED", "training")


def test_containers_could_not_see_the_project(cluster):
    pid = cluster.daemons["nodemanager"].pid
    look = subprocess.run(["ls", "-A", f"/proc/{pid}/root{ROOT}"], capture_output=True, text=True)
    assert (look.returncode, look.stdout) == (0, "")


def test_a_driver_in_the_cluster_does_the_same_and_finds_it_done_afterwards(cluster, release, conf, local):
    values = {**local.config.model_dump(), "release": release, "photographs": f"{release}/photographs"}
    run = open_run(f"{cluster.root}/storage", "in-cluster", {**values, "max_fault_share": 0.2})
    settings = {name.replace(".", "_"): value for name, value in conf.items()} | {"spark_submit_deployMode": "cluster"}
    with code_archive() as code:
        command = submit("extract", run.uri, "yarn", **settings, spark_submit_pyFiles=str(code))
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr[-3000:] + cluster.told()
    assert first_difference(local.pinned("extract"), load_run(run.uri).pinned("extract")) is None


def test_a_namenode_lost_during_a_job_costs_at_most_a_retry(spark, cluster, release, conf, local, trained, tmp_path):
    values = {**local.config.model_dump(), "margin": 0.4}
    here = open_run(local.root, "undisturbed", values)
    there = {"release": release, "photographs": f"{release}/photographs"}
    run = open_run(f"{cluster.root}/storage", "namenode-lost", {**values, **there})
    for stage in ("extract", "join_labels"):
        assert all(each.find_or_adopt(STAGES[stage]) for each in (here, run)), (
            "what a margin changes nothing of is done"
        )
    run_stage(here, STAGES["chip"], lambda context: BODIES["chip"](spark, context))
    settings = {name.replace(".", "_"): value for name, value in conf.items()}
    settings["spark_pyspark_driver_python"] = sys.executable  # the driver runs here, where no archive is unpacked
    before, log = cluster.running(), tmp_path / "job.log"
    with code_archive() as code:
        command = submit("chip", run.uri, "yarn", **settings, spark_submit_pyFiles=str(code))
        # Into a file: a pipe that nobody reads while the NameNode is away would stop the job.
        with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as job:
            try:
                wait_for("the job", lambda: job.poll() is not None or cluster.running() - before)
                assert job.poll() is None, log.read_text()[-3000:]
                cluster.daemons["namenode"].kill()
                time.sleep(10)
                cluster.daemons["namenode"].start()
                job.wait(600)
            finally:
                job.kill()
        if job.returncode:
            assert "chip failed (passing)" in log.read_text(), log.read_text()[-3000:]
            again = subprocess.run(command, capture_output=True, text=True, timeout=600)
            assert again.returncode == 0, again.stderr[-3000:] + cluster.told()
    assert first_difference(here.pinned("chip"), load_run(run.uri).pinned("chip")) is None


def test_names_and_times_in_hdfs_are_those_of_the_files(cluster):
    uri = f"{cluster.root}/times/file"
    storage.write_bytes(uri, b"one")
    before = storage.survey(uri.rpartition("/")[0])
    storage.write_bytes(uri, b"two")
    after = storage.survey(uri.rpartition("/")[0])
    assert list(before) == list(after) == ["file"], "no temporary file is left"
    assert after["file"].modified > before["file"].modified
    assert after["file"].state != before["file"].state
    assert storage.read_bytes(uri) == b"two"


def test_a_namenode_that_is_gone_for_a_while_fails_nothing(cluster):
    """A client waits for it; what it says while it starts is an error that a retry helps."""
    node = cluster.daemons["namenode"]
    uri = f"{cluster.root}/times/file"
    node.kill()
    assert not node.running()
    node.start()

    errors: list[RuntimeError] = []

    def read() -> bytes | None:
        try:
            return storage.read_bytes(uri)
        except RuntimeError as error:
            errors.append(error)
            return None

    assert wait_for("the content", read) == b"two"
    assert [error for error in errors if not isinstance(explain(error), TransientError)] == []
