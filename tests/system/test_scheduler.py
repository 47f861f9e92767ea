"""The flow under Airflow's own scheduler: triggered by its REST API and by its form, looked at, ended halfway, stopped.

The tests build on one another, in their order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest
import yaml

import airflow_environment
import local_airflow
from airflow_home import Component, recorded, write_record
from ml import storage
from ml.config.forms import form_fields
from ml.config.training import TrainingConfig
from ml.errors import TransientError
from ml.flow.table import STAGES
from ml.workflow.run import slug
from support.airflow_root import SMALL, Airflow, alive, attempts, end, family, make_root, running, wait_for
from support.browser import logged_in
from support.browser import shoot as take_screenshot

pytestmark = [pytest.mark.slow, pytest.mark.browser]
DAG = "open_images_training"
# The runs name no baseline, so nothing is compared.
TASKS = {s: f"model.{s}" if STAGES[s].engine == "process" else f"data.{s}" for s in STAGES if s != "compare"}


@pytest.fixture(scope="module")
def airflow(sample_release, tmp_path_factory) -> Iterator[Airflow]:
    root = tmp_path_factory.mktemp("scheduler") / "root"
    where = make_root(root, sample_release)
    deployment = root / "var" / "deployment.yaml"
    deployment.write_text(deployment.read_text() + yaml.safe_dump(SMALL))
    with running(root, DAG) as (client, password):
        yield Airflow(root, where, client, password, DAG)


@pytest.fixture(scope="module")
def done(airflow) -> str:
    """The id of a run that was triggered by the REST API without a logical date, and has ended."""
    run_id = airflow.trigger(threshold=0.4)
    assert airflow.get(f"/dagRuns/{run_id}")["logical_date"] is None
    assert airflow.wait_to_end(run_id) == "success", airflow.tasks(run_id)
    return run_id


@pytest.fixture
def page(airflow):
    """A page of a browser that has logged in."""
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        yield page


@pytest.fixture
def shoot(page, tmp_path):
    """Take a screenshot under a name."""
    return lambda name: take_screenshot(page, tmp_path / f"{name}.png")


def test_a_wrong_value_is_refused_by_the_rest_api(airflow):
    body = {"logical_date": None, "conf": {"images_per_label": 0}}
    answer = airflow.client.post(f"/api/v2/dags/{DAG}/dagRuns", json=body)
    assert 400 <= answer.status_code < 500
    assert "images_per_label" in answer.json()["detail"]
    assert airflow.get("/dagRuns")["total_entries"] == 0


def test_every_task_succeeds_at_its_first_try(airflow, done):
    found = {name: (task["state"], task["try_number"]) for name, task in airflow.tasks(done).items()}
    succeeded = dict.fromkeys(("open_run", *TASKS.values()), ("success", 1))
    assert found == {**succeeded, "model.compare": ("skipped", 1)}  # no baseline is named


def test_every_tasks_xcom_is_told_by_the_rest_api(airflow, done):
    run = airflow.run(done)
    assert airflow.xcom(done, "open_run") == run.uri
    assert run.config.threshold == 0.4
    for stage, manifest in run.pins().items():
        value = airflow.xcom(done, TASKS[stage])
        assert value == {
            **json.loads(json.dumps(manifest.metrics)),
            "ledger": manifest.ledger,
            "stage": stage,
            "attempt": manifest.uri,
            "found_done": False,
        }
    assert list(run.pins()) == list(TASKS)
    evaluated = airflow.xcom(done, "model.evaluate")
    assert {"value", "low", "high", "count"} <= set(evaluated["accuracy"])
    assert storage.exists(evaluated["report"])


def test_an_evaluation_is_announced_as_a_candidate(airflow, done):
    (extra,) = airflow.events("open_images_candidate")
    run = airflow.run(done)
    assert (extra["run"], extra["run_type"]) == (run.uri, "manual")
    assert extra["attempt"] == run.pinned("evaluate").uri
    assert extra["keys"]["featurize"] == run.pinned("featurize").key
    assert extra["metrics"]["accuracy"] == run.pinned("evaluate").metrics["accuracy"]


def test_the_grid_shows_the_run(airflow, done, page, shoot):
    page.goto(f"/dags/{DAG}")
    page.get_by_test_id("expand-all-button").click()
    for task in ("open_run", *TASKS.values()):
        cell = page.get_by_test_id(f"grid-{done}-{task}")
        cell.wait_for()
        cell.get_by_test_id("task-state-badge").wait_for(state="attached")
    shoot("grid")


def test_a_run_triggered_by_the_form_has_its_values_and_else_the_deployments_defaults(airflow, done, page, shoot):
    page.goto(f"/dags/{DAG}")
    page.get_by_test_id("trigger-dag-button").click()
    dialog = page.get_by_role("dialog")
    for field in form_fields(TrainingConfig()).values():
        label = dialog.locator("label").filter(has_text=re.compile(rf"^{re.escape(field['title'])}\W*$"))
        label.wait_for(state="attached")
        if not label.is_visible():
            dialog.get_by_role("button", name=field["section"], exact=True).click()
            label.wait_for()
    page.set_viewport_size({"width": 1440, "height": 1600})
    dialog.get_by_role("button", name="Training", exact=True).click()
    dialog.get_by_text("Random seed for shuffling").wait_for()
    assert dialog.locator("input[name=element_epochs]").input_value() == str(SMALL["epochs"])
    dialog.get_by_role("button", name="Evaluation", exact=True).click()
    dialog.locator("input[name=element_min_confidence]").fill("0.65")
    dialog.locator("input[name=element_min_confidence]").blur()
    shoot("form")
    before = {run["dag_run_id"] for run in airflow.get("/dagRuns")["dag_runs"]}
    dialog.get_by_role("button", name="Trigger", exact=True).click()
    (run_id,) = wait_for("the run", lambda: {run["dag_run_id"] for run in airflow.get("/dagRuns")["dag_runs"]} - before)
    assert airflow.wait_to_end(run_id) == "success", airflow.tasks(run_id)
    config = airflow.run(run_id).config
    assert config == airflow.run(done).config.model_copy(update={"threshold": None, "min_confidence": 0.65})
    found = {stage: airflow.xcom(run_id, task)["found_done"] for stage, task in TASKS.items()}
    assert found == {stage: stage != "evaluate" for stage in TASKS}
    page.goto(f"/dags/{DAG}/runs/{run_id}")
    page.get_by_test_id("expand-all-button").click()
    page.get_by_test_id(f"grid-{run_id}-model.evaluate").wait_for()
    shoot("run")


def _report(page, run_id):
    """The report of a run, once it shows something."""
    page.goto(f"/dags/{DAG}/runs/{run_id}")
    page.get_by_role("link", name="Report", exact=True).click()
    report = page.locator(".open-images")
    report.get_by_role("list").first.wait_for()
    return report


def test_the_report_tab_tells_the_run(airflow, done, page, shoot):
    evaluated = airflow.xcom(done, "model.evaluate")
    report = _report(page, done)
    report.get_by_role("heading", name="Metrics").wait_for()
    told = report.inner_text()
    assert f"{evaluated['accuracy']['value']:.1%}" in told
    assert f"{evaluated['accuracy']['low']:.1%} to {evaluated['accuracy']['high']:.1%}" in told
    assert f"always “{evaluated['majority']['label']}”" in told
    assert "perceived gender presentation" in told
    assert "must not be used" in told
    report.get_by_text(re.compile(r"^All \d+ parameters")).click()
    threshold = report.get_by_role("row").filter(has=page.get_by_text("threshold", exact=True))
    assert "0.4" in threshold.inner_text()
    pictures = report.get_by_role("img")
    pictures.nth(10).wait_for(state="attached")  # so many there are at least
    for picture in report.locator("figure img").all():
        picture.scroll_into_view_if_needed()
        assert picture.get_attribute("alt")
        wait_for("a picture", lambda picture=picture: picture.evaluate("img => img.complete && img.naturalWidth"))
    page.locator(".open-images").evaluate("pane => pane.scrollTo(0, 0)")
    shoot("report")


def test_the_reports_links_lead_where_they_say(airflow, done, page):
    report = _report(page, done)
    with page.expect_popup() as opened:
        report.get_by_role("link", name="Full report").click()
    whole = opened.value
    whole.get_by_role("heading", name=re.compile("evaluation on the test split")).wait_for()
    assert whole.evaluate("window.origin") == "null"  # its sandbox
    whole.close()
    report.get_by_role("link", name="All models").click()
    page.get_by_role("heading", name="Models", exact=True).wait_for()
    page.locator(".open-images table").get_by_role("link", name=done, exact=True).click()
    report.get_by_role("heading", name="Metrics").wait_for()
    report.get_by_role("link", name="Tasks", exact=True).click()
    page.get_by_role("link", name="model.evaluate").or_(page.get_by_text("model.evaluate")).first.wait_for()


def test_the_models_page_shows_all_runs(airflow, done, page, shoot):
    page.get_by_role("link", name="Models", exact=True).click()
    models = page.locator(".open-images")
    models.get_by_role("heading", name="All models").wait_for()
    accuracy = models.get_by_role("group", name=re.compile("^Accuracy of each model"))
    point = accuracy.get_by_role("link").first
    point.wait_for()  # charts are drawn once they know their width
    for run in airflow.get("/dagRuns")["dag_runs"]:
        assert models.get_by_role("row").filter(has_text=run["dag_run_id"]).count() == 1
    models.get_by_placeholder(re.compile("version, run")).fill("no such model")
    models.get_by_text(re.compile("^0 of ")).wait_for()
    models.get_by_placeholder(re.compile("version, run")).fill(done)
    models.get_by_role("row").filter(has_text=done).wait_for()
    shoot("models")
    point.focus()
    page.keyboard.press("Enter")
    models.get_by_role("heading", name="Metrics").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_follow_theme_and_width(airflow, done, page, shoot, theme):
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": 420, "height": 1000})
    page.goto("/plugin/models")
    models = page.locator(".open-images")
    models.get_by_role("heading", name="All models").wait_for()
    wait_for("a chart that fits", lambda: models.evaluate("pane => pane.scrollWidth <= pane.clientWidth"))
    ink = models.evaluate(
        "pane => { const pen = document.createElement('canvas').getContext('2d');"
        " pen.fillStyle = getComputedStyle(pane).color; pen.fillRect(0, 0, 1, 1);"
        " return pen.getImageData(0, 0, 1, 1).data[1]; }"
    )
    assert (ink > 128) == (theme == "dark")
    shoot(f"models-narrow-{theme}")
    for width, name in ((1440, "report"), (420, "report-narrow")):
        page.set_viewport_size({"width": width, "height": 1000})
        report = _report(page, done)
        report.get_by_role("heading", name="Metrics").wait_for()
        shoot(f"{name}-{theme}")
        faces = report.get_by_role("heading", name="Where the faces went")
        faces.evaluate("heading => heading.scrollIntoView()")
        assert report.evaluate("pane => pane.scrollWidth <= pane.clientWidth")
        shoot(f"{name}-faces-{theme}")


def test_the_tasks_page_links_the_report(airflow, done, page):
    links = airflow.get(f"/dagRuns/{done}/taskInstances/model.evaluate/links")["extra_links"]
    assert links["Report"].endswith("/files/evaluate/report.html")
    assert set(links) == {"Report"}  # there is no tracking server
    assert airflow.get(f"/dagRuns/{done}/taskInstances/data.chip/links")["extra_links"] == {}, "not even a heading"
    page.goto(f"/dags/{DAG}/runs/{done}/tasks/model.evaluate/details")
    page.get_by_role("link", name="Report", exact=True).click()
    page.get_by_role("heading", name=re.compile("evaluation on the test split")).wait_for()


def test_a_parameter_that_does_not_exist_fails_the_run_at_once(airflow, page):
    before = attempts(airflow.storage)
    run_id = airflow.trigger(tresholds=0.4)
    assert airflow.wait_to_end(run_id) == "failed"
    tasks = airflow.tasks(run_id)
    assert tasks["open_run"]["state"] == "failed"
    assert tasks["open_run"]["try_number"] == 1  # no retry would help
    assert attempts(airflow.storage) == before
    report = _report(page, run_id)
    report.get_by_text("Failed at open_run.").wait_for()
    report.get_by_text(re.compile("there is no such parameter")).wait_for()
    report.get_by_role("link", name="Log of open_run").click()
    page.get_by_text(re.compile("there is no such parameter")).first.wait_for()


def job_of(airflow: Airflow, run_id: str) -> list[psutil.Process]:
    """The processes of a run's Spark job, below Airflow's: its JVM, and all that this started."""
    family = local_airflow.processes(recorded(airflow.root))
    found = []
    for process in family:
        try:
            if process.name() == "java" and any(slug(run_id) in argument for argument in process.cmdline()):
                found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_task_marked_failed_takes_its_spark_job_with_it_and_commits_nothing(airflow, done):
    before = attempts(airflow.storage)
    run_id = airflow.trigger(force="extract")
    # The JVM, and the Python driver that it has started; the attempt's folder is there once the driver writes.
    job = wait_for("the Spark job", lambda: (attempts(airflow.storage) - before) and job_of(airflow, run_id))
    assert len(job) >= 2
    for process in job:  # the task hears of its state with its next heartbeat, and the job could be done before that
        process.suspend()
    task = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/data.extract"
    assert airflow.tasks(run_id)["data.extract"]["state"] == "running"
    answer = airflow.client.patch(task, json={"new_state": "failed"})
    assert answer.status_code == 200, answer.text
    wait_for("the end of the job", lambda: not alive(job) and not job_of(airflow, run_id))
    (attempt,) = attempts(airflow.storage) - before
    (folder,) = airflow.storage.glob(f"stages/extract/*/attempts/{attempt.removeprefix('extract/')}")
    assert not (folder / "manifest.json").exists()
    assert airflow.run(run_id).pins() == {}
    assert airflow.wait_to_end(run_id) == "failed"
    states = airflow.states(run_id)
    assert states["data.extract"] == "failed"
    assert states["data.join_labels"] == "upstream_failed"
    # What was done before is still found.
    again = airflow.trigger(threshold=0.4)
    assert airflow.wait_to_end(again) == "success"
    assert all(airflow.xcom(again, task)["found_done"] for task in TASKS.values())


def test_a_run_survives_a_death_in_each_of_its_tasks(airflow):
    # Long enough a training that it is killed on its way, and not after it.
    run_id = airflow.trigger(force="extract", threshold=0.4, epochs=40, checkpoint_minutes=0.001)

    def spark(task: str) -> bool:
        """Kill Spark's JVM, and with it what the driver had begun."""
        return kill(lambda: [p for p in job(task) if p.name() == "java"])

    def process(task: str) -> bool:
        """Kill the process of the task, which has a job below it."""
        found = job(task)
        return kill(lambda: [p.parent() for p in found if p.ppid() not in {other.pid for other in found}])

    def process_with_a_checkpoint(task: str) -> bool:
        """Kill the process of the training once there is something to go on from."""
        kept = airflow.storage.glob(f"stages/train/*/checkpoints/{slug(run_id)}/state.json")
        return any(kept) and process(task)

    def scheduler(task: str) -> bool:
        restart_scheduler(airflow)
        return True

    def job(task: str) -> list[psutil.Process]:
        stage = task.partition(".")[2]
        name = f"ml {stage} " if task.startswith("model.") else f"{stage}.py"
        return processes_of(airflow, name, slug(run_id))

    deaths = {
        **{"data.extract": spark, "data.join_labels": spark, "data.chip": scheduler},
        **{
            "data.featurize": process,
            "model.explore": process,
            "model.train": process_with_a_checkpoint,
            "model.evaluate": process,
            "model.suspects": process,
        },
    }
    assert set(deaths) == set(TASKS.values())
    killed: dict[str, int] = {}

    def go_on() -> bool:
        """Kill in each task once, when its job is there; clear each that waits for its retry but the first."""
        for task, told in airflow.tasks(run_id).items():
            if told["state"] == "running" and task in deaths and task not in killed and deaths[task](task):
                killed[task] = told["try_number"]
            elif told["state"] == "up_for_retry" and task != "data.extract":
                asked = {"dry_run": False, "task_ids": [task], "dag_run_id": run_id, "only_failed": False}
                airflow.ask("POST", f"/dags/{DAG}/clearTaskInstances", **asked)
        return airflow.state(run_id) in ("success", "failed")

    wait_for(f"the end of {run_id}", go_on, 2400)
    assert airflow.state(run_id) == "success", airflow.tasks(run_id)
    assert set(killed) == set(deaths)
    tries = {task: told["try_number"] for task, told in airflow.tasks(run_id).items() if task in killed}
    assert [task for task in killed if tries[task] <= killed[task] and deaths[task] is not scheduler] == []
    run = airflow.run(run_id)
    assert list(run.pins()) == list(TASKS)
    assert all(manifest.whole() for manifest in run.pins().values())
    log = airflow.get(f"/dagRuns/{run_id}/taskInstances/model.train/logs/{tries['model.train']}")
    assert "resuming after epoch" in json.dumps(log), "the next try went on where the one before was killed"


def kill(find: Callable[[], list[psutil.Process]]) -> bool:
    """Kill the first of these processes; False where there is none yet."""
    with contextlib.suppress(psutil.Error):
        for process in find():
            process.kill()
            return True
    return False


def processes_of(airflow: Airflow, *arguments: str) -> list[psutil.Process]:
    """The processes below Airflow's in whose command line all of these are found."""
    found = []
    for process in local_airflow.processes(recorded(airflow.root)):
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if all(argument in command for argument in arguments):
                found.append(process)
    return found


def restart_scheduler(airflow: Airflow) -> None:
    """Kill the scheduler, as the machine does that has no memory left, and start it again as it was."""
    record = recorded(airflow.root)
    scheduler = psutil.Process(record.components["scheduler"].pid)
    workers = scheduler.children()
    scheduler.kill()
    found = {process.pid for process in local_airflow.processes(record)}
    assert workers
    assert {worker.pid for worker in alive(workers)} <= found, "they have lost their parent, and are still known"
    variables = {**airflow_environment.environment(airflow.root, record.port), local_airflow.MARK: record.mark}
    again = subprocess.Popen(
        local_airflow.COMPONENTS["scheduler"],
        env={**os.environ, **variables},
        cwd=airflow.root / "var" / "airflow",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    record.components["scheduler"] = Component.of(again.pid)
    write_record(airflow.root, record)


def test_up_names_the_component_that_has_ended_and_leaves_the_others(airflow):
    record = recorded(airflow.root)
    end(family(record.components["log-server"].pid))
    with pytest.raises(TransientError, match="without its log-server"):
        local_airflow.up(airflow.root)
    assert airflow.get("")["dag_id"] == DAG


def test_down_leaves_no_process(airflow):
    record = recorded(airflow.root)
    processes = local_airflow.processes(record)
    assert len(processes) >= len(local_airflow.COMPONENTS)
    local_airflow.down(airflow.root)
    assert alive(processes) == []
    assert local_airflow.processes(record) == []
    assert recorded(airflow.root) is None
