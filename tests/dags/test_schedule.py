"""The schedule of the training, the deliveries that each run uses, and the events of the landing."""

import datetime
import shutil
from types import SimpleNamespace

import pytest
import yaml

from ml.flow.table import STAGES
from ml.workflow.run import load_run
from support.landings import deliver

MONTHS = ("2020-01-15", "2020-03-15")


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    landing = tmp_path_factory.mktemp("drawn") / "landing"
    for name in MONTHS:
        deliver(landing, name, scenes=10)
    return landing


@pytest.fixture
def landing(drawn, tmp_path, monkeypatch):
    """A landing of two deliveries, and a deployment that names it."""
    landing = shutil.copytree(drawn, tmp_path / "landing")
    content = {"storage": str(tmp_path / "storage"), "release": str(landing)}
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    return landing


@pytest.fixture(scope="module")
def training():
    from open_images_training import dag

    return dag


@pytest.fixture(scope="module")
def announcing():
    from open_images_landing import dag

    return dag


def dag_run(run_type, start=None, end=None, run_after="2020-02-10T12:00:00"):
    interval = {"data_interval_start": start and moment(start), "data_interval_end": end and moment(end)}
    return SimpleNamespace(run_type=run_type, run_after=moment(run_after), logical_date=None, **interval)


def opened(training, run, **params):
    uri = training.get_task("open_run").python_callable({"as_of": None, **params}, "run", run)
    return [delivery.name for delivery in load_run(uri).deliveries]


def test_the_training_has_monthly_intervals_and_runs_for_deliveries(training):
    from airflow.sdk import AssetOrTimeSchedule

    from open_images.assets import LANDING
    from open_images.timetable import FromNowTimetable

    schedule = training.schedule
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert isinstance(schedule.timetable, FromNowTimetable)
    assert schedule.timetable.summary == "0 0 1 * *"
    assert list(schedule.asset_condition.objects) == [LANDING]
    assert not training.catchup
    assert "monthly" in training.tags


def test_at_most_one_task_of_a_stage_runs_at_a_time_over_all_runs(training):
    stages = [task for task in training.tasks if task.task_id != "open_run"]
    assert len(stages) == len(STAGES)
    assert {task.max_active_tis_per_dag for task in stages} == {1}


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_run_of_an_interval_sees_what_was_delivered_before_its_end(training, landing, run_type):
    january = dag_run(run_type, "2020-01-01", "2020-02-01", run_after="2020-06-01")
    assert opened(training, january) == [MONTHS[0]]
    march = dag_run(run_type, "2020-03-01", "2020-04-01", run_after="2020-06-01")
    assert opened(training, march, as_of="2020-01-20") == list(MONTHS)  # the interval decides


def test_an_interval_without_a_delivery_skips_the_run_and_says_so(training, landing, tmp_path):
    from airflow.sdk.exceptions import AirflowSkipException

    february = dag_run("scheduled", "2020-02-01", "2020-03-01")
    with pytest.raises(
        AirflowSkipException, match=r"No delivery in .* is dated from 2020-02-01 00:00 to before 2020-03-01"
    ):
        opened(training, february)
    assert not (tmp_path / "storage").exists()
    assert opened(training, february, retrain_without_news=True) == [MONTHS[0]]


@pytest.mark.parametrize("run_type", ["manual", "asset_triggered"])
def test_a_run_without_an_interval_sees_what_was_delivered_by_then_or_up_to_the_day_that_is_asked(
    training, landing, run_type
):
    assert opened(training, dag_run(run_type)) == [MONTHS[0]]
    assert opened(training, dag_run(run_type, run_after="2020-06-01")) == list(MONTHS)
    assert opened(training, dag_run(run_type), as_of="2020-03-15") == list(MONTHS)
    # Airflow gives a manual run with a logical date the interval before it, which must not count.
    by_hand = dag_run(run_type, "2020-02-01", "2020-03-01", run_after="2020-03-01")
    assert opened(training, by_hand) == [MONTHS[0]]


def test_a_run_before_all_deliveries_fails_at_once(training, landing):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="no delivery dated before"):
        opened(training, dag_run("manual", run_after="2019-01-01"))


def test_the_landing_tells_of_each_whole_delivery_once(announcing, landing):
    look, announce = (announcing.get_task(name) for name in ("look", "announce"))
    (landing / "2020-04-15").mkdir()  # not there yet
    new = look.python_callable({announce.outlets[0]: []})
    assert new == list(MONTHS)
    (event,) = announce.python_callable(MONTHS[0])
    assert event.extra["date"] == MONTHS[0]
    assert event.extra["counts"]["photographs"] == len(list((landing / MONTHS[0]).glob("*/*.jpg")))
    assert event.extra["counts"]["rows"]["2018_04/train/train-annotations-bbox.csv"] > 0
    told = SimpleNamespace(extra=event.extra)
    assert look.python_callable({announce.outlets[0]: [told]}) == [MONTHS[1]]


def test_a_delivery_that_lacks_a_file_is_not_announced(announcing, landing):
    from airflow.sdk.exceptions import AirflowFailException

    (landing / MONTHS[0] / "v5" / "test-annotations-bbox.csv").unlink()
    with pytest.raises(AirflowFailException, match=r"has no v5/test-annotations-bbox\.csv"):
        list(announcing.get_task("announce").python_callable(MONTHS[0]))
