"""The disks where Spark's executors keep their shuffles are full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from ml import storage
from ml.flow.table import STAGES
from ml.java import java_home
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from ml.workflow.run import Run
from support.airflow_root import submit
from support.spark_stages import BODIES
from support.standalone import Cluster, standalone

pytestmark = pytest.mark.stack


def test_full_disks_end_the_job_with_advice_and_it_succeeds_once_there_is_space(spark, sample_release, tmp_path):
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(sample_release), "chip_size": 32})
    run_stage(run, STAGES["extract"], lambda context: BODIES["extract"](spark, context))
    with standalone(tmp_path) as cluster:
        fillers = [fill(scratch) for scratch in cluster.scratch]
        refused = join_labels(run, cluster)
        assert refused.returncode != 0
        (line,) = {line for line in refused.stdout.splitlines() if "ERROR" in line and "No space left" in line}
        assert "No space left on device" in line
        assert "where Spark's executors keep their shuffles" in line
        left = storage.list_files(storage.join(run.root, "stages", "join_labels"))
        assert {Path(name).name for name in left} == {"error.json"}
        for filler in fillers:
            filler.unlink()
        assert join_labels(run, cluster).returncode == 0
    assert run.pinned("join_labels").ledger["labelled"] == 104


def fill(scratch: Path) -> Path:
    """Put a small file system on a folder and fill it; return the file that does."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", scratch], check=True)
    filler = scratch / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def join_labels(run: Run, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """Submit the job to the cluster."""
    return subprocess.run(
        submit("join_labels", run.uri, cluster.master, spark_executor_memory="768m"),
        env={**os.environ, "JAVA_HOME": str(java_home())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
