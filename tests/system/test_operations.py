"""Maintenance and notifications under Airflow's own scheduler, beside a training run that is in the middle of it.

The tests build on one another, in their order.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from ml import storage
from ml.flow.table import STAGES
from ml.workflow.execution import Result, run_stage
from ml.workflow.layout import CLAIM
from ml.workflow.opening import open_run
from ml.workflow.run import Run, load_run, slug
from support.airflow_root import SMALL, Airflow, attempts, make_root, running, wait_for

pytestmark = pytest.mark.slow
TRAINING, MAINTENANCE = "open_images_training", "open_images_maintenance"
NOW = {"grace_hours": 1e-6, "run_days": 1e-6, "keep_runs": 1}


Posted = list[dict[str, Any]]


def told_of(posted: Posted, run_id: str) -> dict[str, Any]:
    """The notification about a run."""
    wanted = lambda: [told for told in posted if told["run"] == run_id]  # noqa: E731
    (told,) = wait_for(f"the notification about {run_id}", wanted)
    return told


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, Posted]]:
    """An address, and what is posted to it."""
    found: Posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def posted(listener) -> Posted:
    return listener[1]


@pytest.fixture(scope="module")
def airflow(sample_release, tmp_path_factory, listener) -> Iterator[Airflow]:
    root = tmp_path_factory.mktemp("operations") / "root"
    where = make_root(root, sample_release)
    deployment = root / "var" / "deployment.yaml"
    deployment.write_text(deployment.read_text() + yaml.safe_dump({**SMALL, "notify": listener[0]}))
    with running(root, TRAINING, MAINTENANCE) as (client, password):
        yield Airflow(root, where, client, password, TRAINING)


@pytest.fixture(scope="module")
def maintenance(airflow) -> Airflow:
    return replace(airflow, dag=MAINTENANCE)


@pytest.fixture(scope="module")
def left_over(airflow, sample_release) -> Run:
    """A run of a shell that ended long ago, with an attempt committed and one crashed."""
    run = open_run(str(airflow.storage), "left-over", {"release": str(sample_release), **SMALL, "max_fault_share": 0.3})
    manifest = run_stage(run, STAGES["extract"], lambda context: Result())
    crashed = storage.join(manifest.uri.rpartition("/")[0], "20260101T000000-0badcafe")
    storage.write_json(storage.join(crashed, CLAIM), {"run": run.slug, "job": "elsewhere|1|1.0"})
    return run


def test_a_failed_run_is_told_with_its_task(airflow, posted):
    run_id = airflow.trigger(tresholds=0.4)
    assert airflow.wait_to_end(run_id) == "failed"
    told = told_of(posted, run_id)
    assert (told["dag"], told["state"], told["task"]) == (TRAINING, "failed", "open_run")
    page = airflow.client.get(told["url"])
    assert page.status_code == 200


def test_a_dry_run_lists_removes_nothing_and_is_told_as_a_success(airflow, maintenance, posted, left_over):
    before = attempts(airflow.storage)
    run_id = maintenance.trigger(**NOW)
    assert maintenance.wait_to_end(run_id) == "success"
    assert maintenance.states(run_id) == {"plan": "success", "remove": "skipped"}
    planned = maintenance.xcom(run_id, "plan")
    # For some hours after its time of the week, unpausing starts the last scheduled clean-up, whose plan may be listed.
    assert {item["kind"] for item in planned["largest"]} - {"plan"} == {"run", "attempt"}
    assert storage.exists(planned["plan"])
    assert attempts(airflow.storage) == before
    assert load_run(left_over.uri) == left_over
    assert told_of(posted, run_id)["state"] == "success"


def test_a_removal_beside_a_training_takes_exactly_what_it_lists_and_the_training_ends_well(
    airflow, maintenance, posted, left_over
):
    training = airflow.trigger()
    run_uri = storage.join(storage.normalize(airflow.storage), "runs", slug(training))

    def in_the_middle() -> bool:
        state = airflow.states(training)
        claimed = {path.split("/")[0] for path in storage.survey(storage.join(left_over.root, "stages"))}
        return state["data.extract"] == "success" and "join_labels" in claimed

    wait_for("a training in the middle of its stages", in_the_middle)
    # An attempt of the training is pinned a moment after its commit, and only its age protects it until then.
    run_id = maintenance.trigger(**NOW | {"grace_hours": 3e-4}, remove=True)
    assert maintenance.wait_to_end(run_id) == "success"
    planned, removed = maintenance.xcom(run_id, "plan"), maintenance.xcom(run_id, "remove")
    listed = {item["uri"]: item["kind"] for item in planned["largest"]}
    assert left_over.uri in listed
    assert not any(uri.startswith(run_uri) for uri in listed)
    reasons = ("run: under way", "run: not old enough")  # its last pin may be as young as the plan
    assert sum(planned["kept"].get(reason, 0) for reason in reasons) == 1
    for uri in listed:
        assert storage.exists(uri) == (uri in removed["stayed"])
    assert removed["stayed"] == {}
    assert removed["removed"] == planned["goes"]
    assert airflow.wait_to_end(training) == "success", airflow.states(training)
    for manifest in load_run(run_uri).pins().values():
        assert manifest.whole()
    assert told_of(posted, training)["state"] == "success"
