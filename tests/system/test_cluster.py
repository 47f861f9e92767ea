"""The Spark stages on a standalone cluster: a master and two workers of the test's own, on loopback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from ml.flow.table import STAGES
from ml.workflow.content import first_difference
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from support.airflow_root import wait_for
from support.spark_stages import BODIES
from support.standalone import Cluster, standalone

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_the_stages_give_on_a_cluster_what_they_give_locally(cluster, spark, sample_release, tmp_path):
    local, remote = (
        open_run(str(tmp_path / name), "run", {"release": str(sample_release), "chip_size": 32})
        for name in ("local", "remote")
    )
    for stage, body in BODIES.items():
        run_stage(local, STAGES[stage], lambda context, body=body: body(spark, context))
        told = cluster.submit(stage, remote.uri)
        assert told.returncode == 0, told.stdout[-6000:]
    wait_for("the ends of the applications", lambda: cluster.done() == sorted(BODIES))  # the master is told later
    assert all(any(work.glob("app-*")) for work in cluster.work)  # both had executors
    for stage in BODIES:
        here, there = local.pinned(stage), remote.pinned(stage)
        assert there.key == here.key
        assert there.ledger == here.ledger
        application = there.metrics["spark_application"]  # a job has one, a stage's body alone has none
        assert there.metrics == {**here.metrics, "spark_application": application}
        assert first_difference(here, there) is None, stage
        # A release without faults has none in quarantine, and the drawn one has no near-duplicates.
        rows = Counter()
        for part in there.of_deliveries():
            rows.update({file.path.split("/")[0]: file.rows for file in part.files if file.rows is not None})
        assert rows
        assert all(rows[table] for table in rows.keys() - {"quarantine", "duplicates"}), rows
