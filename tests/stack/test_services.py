"""The services of docker-compose.yaml with their S3 store: PostgreSQL, Airflow, MLflow and a standalone Spark cluster.

The tests build on one another, in their order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import stack_test
from ml.flow.table import STAGES
from ml.sample.release import write_sample_release
from ml.workflow.content import first_difference
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from ml.workflow.run import Run, load_run, slug
from support.airflow_root import SMALL, Airflow, wait_for
from support.containers import Containers, containers
from support.spark_stages import BODIES

pytestmark = pytest.mark.stack
ROOT = "s3://open-images/storage"
TRAINING, PREDICTION, PROMOTION = "open_images_training", "open_images_prediction", "open_images_promotion"
# Enough, on 200 scenes, to pass the gate of a promotion.
LEARNS = {**SMALL, "epochs": 12}
KEYS = {"AWS_ACCESS_KEY_ID": "S3_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "S3_SECRET_KEY"}


@pytest.fixture(scope="module")
def release(folder) -> Path:
    write_sample_release(folder / "release", scenes=200)
    return Path(folder / "release")


@pytest.fixture(scope="module")
def stack(folder, release) -> Iterator[Containers]:
    (store,) = stack_test.STORE.glob("v*/versitygw")
    with pytest.MonkeyPatch.context() as patch, containers(folder, release, "s3", store, stack_test.IVY) as running:
        for variable, secret in KEYS.items():
            patch.setenv(variable, running.secrets[secret])
        patch.setenv("AWS_ENDPOINT_URL", running.url("store", 9000))
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("MLFLOW_TRACKING_URI", running.url("mlflow", 5000))
        yield running


@pytest.fixture(scope="module")
def client(stack) -> Iterator[httpx.Client]:
    """A client of Airflow's REST API that has logged in; all DAGs that the tests trigger are unpaused."""
    with httpx.Client(base_url=stack.url("api-server", 8080), trust_env=False, timeout=180) as client:
        login = {"username": "admin", "password": stack.secrets["AIRFLOW_ADMIN_PASSWORD"]}
        answer = client.post("/auth/token", json=login)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        for dag in (PREDICTION, PROMOTION):
            wait_for(f"the DAG {dag}", lambda dag=dag: client.get(f"/api/v2/dags/{dag}").status_code == 200)
            client.patch(f"/api/v2/dags/{dag}", json={"is_paused": False}).raise_for_status()
        yield client


def airflow(stack: Containers, client: httpx.Client, dag: str) -> Airflow:
    return Airflow(stack.folder, Path("/nowhere"), client, stack.secrets["AIRFLOW_ADMIN_PASSWORD"], dag)


@pytest.fixture(scope="module")
def training(stack, client) -> Airflow:
    return airflow(stack, client, TRAINING)


def finish(flow: Airflow, stack: Containers, run_id: str) -> None:
    """Wait for a run's success."""
    state = flow.wait_to_end(run_id, 1500)
    assert state == "success", f"{flow.states(run_id)}\n{stack.logs()}"


@pytest.fixture(scope="module")
def trained(stack, training) -> Run:
    """The run of a small training."""
    training.ask("PATCH", f"/dags/{TRAINING}", is_paused=False)
    run_id = training.trigger(**LEARNS)
    finish(training, stack, run_id)
    return load_run(f"{ROOT}/runs/{slug(run_id)}")


def test_the_training_gives_what_it_gives_on_one_machine(trained, release, spark, tmp_path):
    local = open_run(str(tmp_path / "storage"), "local", {**trained.config.model_dump(), "release": str(release)})
    for stage, body in BODIES.items():
        here = run_stage(local, STAGES[stage], lambda context, body=body: body(spark, context))
        assert first_difference(here, trained.pinned(stage)) is None, stage
    assert all(manifest.uri.startswith(ROOT) for manifest in map(trained.pinned, BODIES))


def test_the_jobs_ran_on_the_cluster(stack, trained):
    done = httpx.get(f"{stack.url('spark-master', 8081)}/json/", trust_env=False).json()["completedapps"]
    found = {app["id"]: app["state"] for app in done}
    assert [found[trained.pinned(stage).metrics["spark_application"]] for stage in BODIES] == ["FINISHED"] * len(BODIES)


def test_nothing_was_moved_in_the_store(stack, trained):
    """A rename in an object store is a copy; the gateway's log has each request."""
    told = (stack.folder / "logs" / "store.log").read_text(errors="replace")
    assert "PUT" in told
    assert "CopyObject" not in told


def test_a_promotion_that_a_person_approves_makes_the_model_the_champion(stack, client, trained):
    flow = airflow(stack, client, PROMOTION)
    (asked,) = wait_for("the promotion", lambda: flow.get("/dagRuns?run_type=asset_triggered")["dag_runs"])
    run_id = asked["dag_run_id"]
    wait_for("the question", lambda: flow.states(run_id)["approve"] == "awaiting_input")
    path = f"/dags/{PROMOTION}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    # An answer that comes before the scheduler has heard of the question finds the task not waiting yet.
    wait_for("the scheduler", lambda: f"task_id=approve, run_id={run_id[:40]}" in stack.daemons["scheduler"].tail(2000))
    flow.ask("PATCH", path, chosen_options=["Approve"], params_input={})
    finish(flow, stack, run_id)
    name = f"{stack.url('mlflow', 5000)}/api/2.0/mlflow/registered-models/alias"
    answer = httpx.get(name, params={"name": "open-images-human-face", "alias": "champion"}, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert trained.pinned("train").uri in json.dumps(answer.json())


def test_a_bulk_prediction_takes_the_champion(stack, client, trained):
    flow = airflow(stack, client, PREDICTION)
    run_id = flow.trigger(photographs="/data/open-images/test")
    finish(flow, stack, run_id)
    pushed = flow.xcom(run_id, "predict")
    assert pushed["ledger"]
    assert pushed["attempt"].startswith(ROOT)


def test_a_run_survives_the_loss_of_the_database_and_of_a_worker(stack, training, trained):
    run_id = training.trigger(**SMALL, min_face_size=30)

    def runs(task: str) -> bool:
        """Whether a task runs; services that the loss of another one ended are started again meanwhile."""
        stack.start_ended()
        answer = training.client.get(f"/api/v2/dags/{TRAINING}/dagRuns/{run_id}/taskInstances/{task}")
        return answer.status_code == 200 and answer.json()["state"] == "running"

    wait_for("a job", lambda: runs("data.chip"))
    stack.daemons["postgres"].kill()
    assert "postgres" in stack.start_ended()
    wait_for("another job", lambda: runs("data.featurize"), 900)
    stack.daemons["spark-worker"].kill()
    time.sleep(5)
    assert "spark-worker" in stack.start_ended()
    finish(training, stack, run_id)
    again = load_run(f"{ROOT}/runs/{slug(run_id)}")
    assert first_difference(trained.pinned("extract"), again.pinned("extract")) is None


def test_no_secret_is_in_a_log(stack, trained):
    files = [*(stack.folder / "logs").glob("*.log"), *stack.volume("airflow").rglob("*.log")]
    texts = {file: file.read_text(errors="replace") for file in files}
    assert len(texts) > 10
    found = [(file, name) for name, secret in stack.secrets.items() for file, text in texts.items() if secret in text]
    assert found == []
