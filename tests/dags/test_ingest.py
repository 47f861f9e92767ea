"""The ingest DAG: its schedule and form, the date of each delivery, and what its task pushes."""

import datetime
import json
from types import SimpleNamespace

import pytest
import yaml

from ml.release.landing import arrived
from support.file_server import host_release, serving, sources, status


@pytest.fixture(scope="module")
def dag():
    from open_images_ingest import dag

    return dag


@pytest.fixture
def server(sample_release, tmp_path):
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as server:
        host_release(server, sample_release)
        yield server


@pytest.fixture
def landing(server, tmp_path, monkeypatch):
    """A landing that does not exist yet, and a deployment that names it and the server."""
    own = {**sources(server), "images": 10, "backoff_seconds": 0.01, "retries": 1, "max_missing_share": 0.2}
    content = {"storage": str(tmp_path / "storage"), "release": str(tmp_path / "landing"), "download": own}
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    return tmp_path / "landing"


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def dag_run(run_type, start=None, end=None):
    interval = {"data_interval_start": start and moment(start), "data_interval_end": end and moment(end)}
    return SimpleNamespace(run_type=run_type, run_after=moment("2026-07-04T12:00"), **interval)


def run(dag, run, **params):
    return dag.get_task("download").python_callable({"date": None, **params}, run)


def test_it_is_one_task_that_never_runs_twice_at_a_time(dag):
    (task,) = dag.tasks
    assert task.task_id == "download"
    assert task.max_active_tis_per_dag == 1
    assert task.retries == 2
    assert task.execution_timeout == datetime.timedelta(hours=48)
    assert task.outlets == [], "open_images_landing announces the delivery"


def test_only_people_start_it_unless_the_deployment_schedules_it(dag):
    from ml.config.deployment import Deployment
    from open_images.timetable import FromNowTimetable
    from open_images_ingest import _schedule

    assert _schedule(Deployment()) is None
    monthly = _schedule(Deployment(ingest_schedule="0 0 1 * *"))
    assert (type(monthly), monthly.summary) == (FromNowTimetable, "0 0 1 * *")
    assert not dag.catchup


def test_the_form_is_that_of_the_parameters(dag):
    from ml.config.download import DownloadConfig

    assert set(dag.params) == set(DownloadConfig.model_fields)
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema["title"], name
        assert schema["section"], name


@pytest.mark.parametrize(("name", "value"), [("images", 0), ("connections", 5000), ("max_missing_share", 2)])
def test_a_wrong_value_does_not_pass_the_form(dag, name, value):
    import copy

    from airflow.sdk.exceptions import ParamValidationError

    params = copy.deepcopy(dag.params)
    with pytest.raises(ParamValidationError):
        params[name] = value


def test_each_interval_adds_a_delivery_that_its_training_sees(dag, landing):
    from ml.release.landing import find_deliveries

    for month in (1, 2, 3):
        start, end = f"2026-0{month}-01", f"2026-0{month + 1}-01"
        pushed = run(dag, dag_run("backfill", start, end), date="2020-01-01")  # the interval decides
        assert pushed["images"] > 0
        assert pushed["bytes"] > 0
        assert pushed["found_done"] is False
        assert json.loads(json.dumps(pushed)) == pushed
        assert find_deliveries(str(landing), None, moment(end), moment(start))
    assert arrived(str(landing)) == ["2026-01-31", "2026-02-28", "2026-03-31"]
    again = run(dag, dag_run("backfill", "2026-02-01", "2026-03-01"))
    assert again["found_done"] is True


def test_a_run_by_hand_is_dated_by_its_day_or_as_asked(dag, landing):
    run(dag, dag_run("manual", "2026-01-01", "2026-02-01"))
    run(dag, dag_run("manual"), date="2026-07-01")
    assert arrived(str(landing)) == ["2026-07-01", "2026-07-04"]


def test_a_dry_run_pushes_an_estimate_and_writes_nothing(dag, landing, tmp_path):
    pushed = run(dag, dag_run("manual"), dry_run=True)
    assert pushed["images"] == 10
    assert pushed["annotation_bytes"] > 0
    assert not landing.exists()
    assert not (tmp_path / "storage").exists()


def test_an_interval_in_which_no_day_begins_is_refused(dag, landing):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="Set ingest_schedule to run once a day at most"):
        run(dag, dag_run("scheduled", "2026-01-01T01:00", "2026-01-01T02:00"))


@pytest.mark.parametrize(("code", "retried"), [(404, False), (500, True)])
def test_missing_photographs_fail_the_task_which_is_retried_if_that_may_help(dag, landing, server, code, retried):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    for file in (server.root / "bucket").glob("*/*.jpg"):
        server.spoil(f"bucket/{file.parent.name}/{file.name}", status(code), forever=True)
    with pytest.raises(AirflowException, match=r"photographs cannot be fetched \(\d+ ") as failed:
        run(dag, dag_run("manual"), originals=False)
    assert isinstance(failed.value, AirflowFailException) is not retried


def test_when_no_image_is_left_the_run_is_skipped(dag, landing):
    from airflow.sdk.exceptions import AirflowSkipException

    run(dag, dag_run("manual"), images=1000, balance={}, max_missing_share=1.0)
    with pytest.raises(AirflowSkipException, match="is left to pick"):
        run(dag, dag_run("manual"), date="2026-08-01", balance={})
