"""From nothing to a report: photographs from a local server, deliveries by command and by schedule, trainings on them.

The tests build on one another, in their order.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_environment
from ml import storage
from ml.release.landing import arrived
from ml.sample.release import write_sample_release
from support.airflow_root import SMALL, Airflow, make_root, running, wait_for
from support.backfills import Backfills
from support.browser import logged_in, shoot
from support.file_server import FileServer, host_release, serving, sources

pytestmark = [pytest.mark.slow, pytest.mark.browser]
INGEST, TRAINING, LANDING = "open_images_ingest", "open_images_training", "open_images_landing"
FIRST = "2019-12-31"
MONTHS = ("2020-01-31", "2020-02-29", "2020-03-31")
SCENES, IMAGES, MONTHLY = 480, 300, 20


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[FileServer]:
    folder = tmp_path_factory.mktemp("hosts")
    write_sample_release(folder / "release", scenes=SCENES, seed=5)
    (folder / "www").mkdir()
    with serving(folder / "www") as server:
        host_release(server, folder / "release")
        yield server


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    """A landing that does not exist yet."""
    return tmp_path_factory.mktemp("delivered") / "landing"


@pytest.fixture(scope="module")
def airflow(server, landing, tmp_path_factory) -> Iterator[Backfills]:
    root = tmp_path_factory.mktemp("ingest") / "root"
    where = make_root(root, landing)
    deployment = root / "var" / "deployment.yaml"
    # The drawn release lacks a photograph in a hundred, and another one is cut short: too many for a few by chance.
    own = {**sources(server), "images": MONTHLY, "backoff_seconds": 0.01, "max_missing_share": 0.2}
    content = yaml.safe_load(deployment.read_text()) | SMALL
    content |= {"split": "digest", "ingest_schedule": "0 0 1 * *", "download": own}
    deployment.write_text(yaml.safe_dump(content))
    with running(root, TRAINING) as (client, password):
        yield Backfills(root, where, client, password, INGEST)


@pytest.fixture(scope="module")
def trainings(airflow) -> Airflow:
    """The same Airflow, asked about its trainings."""
    return Airflow(airflow.root, airflow.storage, airflow.client, airflow.password, TRAINING)


def check_report(trainings: Airflow, run_id: str) -> dict[str, Any]:
    """A training has ended well, and its report and its model card are there. Return what its evaluation pushed."""
    assert trainings.wait_to_end(run_id) == "success", trainings.states(run_id)
    pushed: dict[str, Any] = trainings.xcom(run_id, "model.evaluate")
    assert b"<html" in storage.read_bytes(pushed["report"])
    assert b"# open-images-" in storage.read_bytes(pushed["card"])
    return pushed


def test_from_nothing_one_command_makes_a_delivery_and_the_training_a_report(server, airflow, trainings, landing):
    options = {"images": IMAGES, "landing": landing, "date": FIRST, "storage": airflow.storage, **sources(server)}
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run([sys.executable, "-m", "ml", "download", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    photographs = list((landing / FIRST).glob("*/*.jpg"))
    assert 0.95 * IMAGES <= len(photographs) <= IMAGES
    assert f"{len(photographs)} photographs" in done.stdout
    run_id = trainings.trigger(as_of=FIRST)
    assert check_report(trainings, run_id)["faces"] > 0
    listed = trainings.xcom(run_id, "data.extract")["rows"]["images"]
    assert listed == len(photographs), "the delivery lists what arrived and nothing else"


def backfill_by_form(airflow: Backfills, first: str, last: str, screenshot: Path) -> None:
    """Run the months between two days as a user does on the DAG's page."""
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        page.goto(f"/dags/{INGEST}")
        page.get_by_test_id("trigger-dag-button").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Backfill", exact=True).click()
        opened = page.locator("[data-scope=popover][data-part=content][data-state=open]")
        for number, day in enumerate((first, last)):
            dialog.get_by_test_id("datetime-input").nth(number).click()
            opened.get_by_placeholder("YYYY/MM/DD").fill(day.replace("-", "/"))
            opened.get_by_placeholder("HH:mm").fill("00:00")
            page.keyboard.press("Escape")
        dialog.get_by_text("3 runs will be triggered.").wait_for()
        shoot(page, screenshot)
        dialog.get_by_role("button", name="Run Backfill").click()
        wait_for("the backfill", lambda: len(airflow.runs("backfill")) == 3)


def test_a_backfill_of_three_months_adds_three_deliveries_of_other_images(server, airflow, landing, tmp_path):
    airflow.ask("PATCH", f"/dags/{INGEST}", is_paused=False)
    backfill_by_form(airflow, "2020-01-01", "2020-03-31", tmp_path / "ingest-backfill.png")
    airflow.wait_for_backfill()
    runs = airflow.runs("backfill")
    assert {month: run["state"] for month, run in runs.items()} == dict.fromkeys(
        ("2020-01", "2020-02", "2020-03"), "success"
    )
    # Once the file is read again, the schedule makes up for the last month.
    airflow.parse()
    (made_up,) = wait_for("the run of the last month", lambda: airflow.runs("scheduled").values())
    assert airflow.wait_to_end(made_up["dag_run_id"]) == "success"
    assert arrived(str(landing))[:-1] == [FIRST, *MONTHS]
    for month, date in zip(("2020-01", "2020-02", "2020-03"), MONTHS, strict=True):
        pushed = airflow.xcom(runs[month]["dag_run_id"], "download")
        assert pushed["delivery"] == f"file://{landing / date}"
        assert pushed["images"] == len(list((landing / date).glob("*/*.jpg"))) > 0
        assert pushed["bytes"] > 0
        assert pushed["seconds"] > 0
    images = [path.stem for path in landing.glob("*/*/*.jpg")]
    assert len(images) == len(set(images)), "no image is in two deliveries"
    sent = server.whole("openimages/")
    assert len(sent) == len(set(sent)), "the annotation files were fetched once"


def test_the_deliveries_are_announced_and_a_training_takes_them_all(airflow, trainings, landing):
    airflow.ask("PATCH", f"/dags/{LANDING}", is_paused=False)
    names = arrived(str(landing))

    def opened() -> list[str]:
        found = trainings.get("/dagRuns?run_type=asset_triggered")["dag_runs"]
        return [run_id for run in found if trainings.states(run_id := run["dag_run_id"])["open_run"] == "success"]

    for run_id in wait_for("a training", opened, 900):
        assert [delivery.name for delivery in trainings.run(run_id).deliveries] == names
        # It would end as the one above did.
        trainings.ask("PATCH", f"/dags/{TRAINING}/dagRuns/{run_id}", state="failed")
    # The run may be open before the last delivery is announced.
    wait_for("the events", lambda: sorted(event["date"] for event in airflow.events("open_images_landing")) == names)


def test_where_airflow_cannot_list_the_announcements_the_task_says_what_to_do(airflow, trainings):
    landings = Airflow(airflow.root, airflow.storage, airflow.client, airflow.password, LANDING)
    triggered = trainings.get("/dagRuns?run_type=asset_triggered&state=failed")["dag_runs"][0]["dag_run_id"]
    # As of a run that was marked as failed before it started.
    database = sqlite3.connect(airflow_environment.airflow_home(airflow.root) / "airflow.db", timeout=60)
    with contextlib.closing(database), database:
        database.execute("UPDATE dag_run SET start_date = NULL WHERE run_id = ?", (triggered,))
    run_id = landings.trigger()
    wait_for("the fault", lambda: landings.states(run_id)["look"] == "up_for_retry")
    failure = landings.xcom(run_id, "look", "failure")
    assert "could not list the events of the asset open_images_landing" in failure["message"]
    assert "delete it" in failure["advice"]
    airflow.client.delete(f"/api/v2/dags/{TRAINING}/dagRuns/{triggered}").raise_for_status()
    assert landings.wait_to_end(run_id) == "success"
    assert landings.xcom(run_id, "look") == [], "all were announced"
