"""The disks where Spark's executors keep their shuffles are full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml import storage
from ml.flow.table import STAGES
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from support.spark_stages import BODIES
from support.standalone import standalone

pytestmark = pytest.mark.stack


def test_full_disks_end_the_job_with_advice_and_it_succeeds_once_there_is_space(spark, sample_release, tmp_path):
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(sample_release), "chip_size": 32})
    run_stage(run, STAGES["extract"], lambda context: BODIES["extract"](spark, context))
    with standalone(tmp_path) as cluster, contextlib.ExitStack() as disks:
        fillers = [disks.enter_context(full(scratch)) for scratch in cluster.scratch]
        refused = cluster.submit("join_labels", run.uri)
        assert refused.returncode != 0
        (line,) = {line for line in refused.stdout.splitlines() if "ERROR" in line and "No space left" in line}
        assert "No space left on device" in line
        assert "where Spark's executors keep their shuffles" in line
        left = storage.list_files(storage.join(run.root, "stages", "join_labels"))
        assert {Path(name).name for name in left} == {"error.json"}
        for filler in fillers:
            filler.unlink()
        assert cluster.submit("join_labels", run.uri).returncode == 0
    assert run.pinned("join_labels").ledger["labelled"] == 104


@contextlib.contextmanager
def full(scratch: Path) -> Iterator[Path]:
    """Put a small file system on a folder and fill it; yield the file that does."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", scratch], check=True)
    try:
        filler = scratch / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield filler
    finally:
        subprocess.run(["umount", "--lazy", scratch], check=True)  # executors may still have files open there
