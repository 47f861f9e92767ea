"""Backfills, deliveries and their trainings under Airflow's own scheduler.

The tests build on one another, in their order.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_home
from support.airflow_root import SMALL, attempts, make_root, running, wait_for
from support.backfills import DAG, Backfills
from support.landings import deliver

pytestmark = pytest.mark.slow
MONTHS = ("2020-01-15", "2020-02-15", "2020-04-15")  # none in March
SCENES = 40  # of each delivery
STAGES = ("extract", "join_labels", "chip", "featurize", "explore", "train", "evaluate", "suspects")


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    """A landing with the first two deliveries."""
    landing = tmp_path_factory.mktemp("delivered") / "landing"
    for name in MONTHS[:2]:
        deliver(landing, name, SCENES)
    return landing


@pytest.fixture(scope="module")
def airflow(landing, tmp_path_factory) -> Iterator[Backfills]:
    root = tmp_path_factory.mktemp("backfill") / "root"
    where = make_root(root, landing)
    deployment = root / "var" / "deployment.yaml"
    content = yaml.safe_load(deployment.read_text()) | SMALL | {"split": "digest", "training_schedule": "0 0 1 * *"}
    deployment.write_text(yaml.safe_dump(content))
    with running(root, DAG) as (client, password):
        yield Backfills(root, where, client, password, DAG)


def test_unpausing_starts_no_run_and_the_next_month_brings_one(airflow):
    now = datetime.datetime.now(datetime.UTC)
    if (now + datetime.timedelta(minutes=5)).day == 1 and now.hour in (23, 0):
        pytest.skip("in the first hour of a month, unpausing makes up for the month before, as it should")
    today = now.date()
    first = (today.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
    assert airflow.get("")["next_dagrun_run_after"][:10] == first.isoformat()
    assert airflow.runs("scheduled") == {}
    assert attempts(airflow.storage) == set()


def test_a_dry_run_lists_the_intervals_and_starts_none(airflow):
    told = airflow.backfill("--from-date", "2020-01-01", "--to-date", "2020-03-31", "--dry-run")
    assert all(f"2020-0{month}-01" in told for month in (1, 2, 3))
    assert airflow.runs("backfill") == {}


def test_a_database_that_another_program_holds_for_a_while_ends_no_component(airflow):
    # Python's sqlite3 gives up after five seconds by itself, and with it whatever the scheduler was about to write.
    log = airflow.root / "var" / "airflow" / "standalone.log"
    assert "database is locked" not in log.read_text(errors="replace")
    database = sqlite3.connect(airflow.root / "var" / "airflow" / "airflow.db", timeout=60)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")
        time.sleep(12)
        database.rollback()
    time.sleep(3)  # for a component that gave up to end
    assert airflow_home.recorded(airflow.root).ended() == []
    assert "database is locked" not in log.read_text(errors="replace")


def test_a_backfill_trains_each_month_on_what_was_delivered_before_its_end(airflow):
    airflow.backfill("--from-date", "2020-01-01", "--to-date", "2020-03-31", "--max-active-runs", "2")
    airflow.wait_for_backfill()
    runs = airflow.runs("backfill")
    assert {month: run["state"] for month, run in runs.items()} == dict.fromkeys(
        ("2020-01", "2020-02", "2020-03"), "success"
    )
    seen = {
        month: [delivery.name for delivery in airflow.run(runs[month]["dag_run_id"]).deliveries]
        for month in ("2020-01", "2020-02")
    }
    assert seen == {"2020-01": [MONTHS[0]], "2020-02": [MONTHS[0], MONTHS[1]]}
    assert set(airflow.states(runs["2020-03"]["dag_run_id"]).values()) == {"skipped"}
    faces = {month: airflow.pushed(runs[month]["dag_run_id"], "evaluate")["faces"] for month in seen}
    assert 0 < faces["2020-01"] < faces["2020-02"]
    events = airflow.events("open_images_candidate")
    assert [event["run_type"] for event in events] == ["backfill"] * 2, "so that a promotion asks nobody"


def test_each_delivery_was_extracted_and_chipped_once(airflow):
    for stage, table in (("extract", "boxes"), ("chip", "chips")):
        done = list(airflow.storage.glob(f"stages/{stage}/*/attempts/*/{table}"))
        assert len(done) == 2, f"{stage}: {done}"


def test_a_second_backfill_finds_all_done_and_starts_no_job(airflow):
    before = attempts(airflow.storage)
    airflow.backfill("--from-date", "2020-01-01", "--to-date", "2020-02-28", "--reprocess-behavior", "completed")
    airflow.wait_for_backfill()
    runs = airflow.runs("backfill")
    for month in ("2020-01", "2020-02"):
        assert runs[month]["state"] == "success"
        found = {stage: airflow.pushed(runs[month]["dag_run_id"], stage)["found_done"] for stage in STAGES}
        assert found == dict.fromkeys(STAGES, True)
    assert attempts(airflow.storage) == before


def test_a_run_by_hand_sees_what_was_delivered_up_to_the_day_asked_and_redoes_nothing(airflow):
    before = attempts(airflow.storage)
    run_id = airflow.trigger(as_of="2020-01-15")
    assert airflow.wait_to_end(run_id) == "success"
    assert [delivery.name for delivery in airflow.run(run_id).deliveries] == [MONTHS[0]]
    assert attempts(airflow.storage) == before


def test_a_new_delivery_is_announced_and_trained_on(airflow, landing):
    deliver(landing, MONTHS[2], SCENES)
    shutil.copytree(landing / MONTHS[2], landing / "2020-05-15")
    (landing / "2020-05-15" / "delivery.json").unlink()  # not there yet
    airflow.ask("PATCH", "/dags/open_images_landing", is_paused=False)

    def trainings() -> dict[str, dict[str, Any]]:
        """Those that deliveries have started; several events at once start one or more."""
        found = airflow.get("/dagRuns?run_type=asset_triggered")["dag_runs"]
        return {run["dag_run_id"]: run for run in found}

    def ended() -> dict[str, dict[str, Any]]:
        found = trainings()
        return found if all(run["state"] in ("success", "failed") for run in found.values()) else {}

    for run_id, run in wait_for("the end of a training", ended, 900).items():
        assert run["state"] == "success", airflow.states(run_id)
        assert run["logical_date"] is None
        assert [delivery.name for delivery in airflow.run(run_id).deliveries] == list(MONTHS)
    told = airflow.events("open_images_landing")
    assert sorted(event["date"] for event in told) == list(MONTHS)
    assert all(event["counts"]["photographs"] > 0 and event["digest"] for event in told)


def test_a_schedule_takes_what_was_delivered_in_its_interval(airflow, landing):
    """A daily schedule, and a delivery dated in the interval that has ended last."""
    airflow.ask("PATCH", "/dags/open_images_landing", is_paused=True)
    yesterday = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).date().isoformat()
    deliver(landing, yesterday, SCENES)

    def scheduled() -> set[str]:
        return {run["dag_run_id"] for run in airflow.get("/dagRuns?run_type=scheduled")["dag_runs"]}

    # After the automated runs of a backfill, the schedule makes up for the last month, which has no delivery.
    (skipped,) = wait_for("the run of the last month", scheduled)
    assert airflow.wait_to_end(skipped) == "success"
    assert set(airflow.states(skipped).values()) == {"skipped"}
    deployment = airflow.root / "var" / "deployment.yaml"
    content = yaml.safe_load(deployment.read_text())
    deployment.write_text(yaml.safe_dump(content | {"training_schedule": "0 0 * * *"}))
    airflow.parse()
    (run_id,) = wait_for("a run by the new schedule", lambda: scheduled() - {skipped})
    wait_for("its run folder", lambda: airflow.states(run_id)["open_run"] == "success")
    assert airflow.get(f"/dagRuns/{run_id}")["data_interval_start"][:10] == yesterday
    assert [delivery.name for delivery in airflow.run(run_id).deliveries] == [*MONTHS, yesterday]
