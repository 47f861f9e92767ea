"""The training flow: turn a release of Open Images into chips, features, a trained network and a report."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, AssetOrTimeSchedule, task

from ml.config.deployment import Deployment, load_deployment
from open_images.assets import CANDIDATE, LANDING
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.operators.tasks import describe_stages, stage_tasks
from open_images.timetable import FromNowTimetable, schedule_name

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from airflow.sdk.types import DagRunProtocol

DOC = f"""
### Open Images to a classifier of perceived gender presentation

Trains a network on a release of Open Images, V4 to V7 (annotation files and photographs) with Spark and TensorFlow, and
writes a report. **Trigger** opens a form with every parameter; its defaults come from the deployment.

| task | output | XCom |
|---|---|---|
| `open_run` | the run folder with the validated parameters | its URI |
{describe_stages()}

It runs on its schedule, for each delivery that `open_images_landing` announces, and by hand. The first scheduled run
comes at the end of the interval in which the DAG is unpaused. A scheduled or backfilled run uses the deliveries dated
before the end of its data interval. It is skipped if none is dated within that interval, unless `retrain_without_news`
is set. Other runs use the deliveries up to the day `as_of`, or up to the time of the run.

A stage whose inputs and parameters have not changed reuses its earlier result; `force` redoes it.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the model to make decisions about people.
"""
INTERVAL_RUNS = ("scheduled", "backfill")  # Airflow gives manual runs an interval too, which must not count
RUN = "{{ ti.xcom_pull(task_ids='open_run') }}"


def _schedule(deployment: Deployment) -> AssetOrTimeSchedule | list[Asset]:
    """Return a schedule by time, with data intervals so that it can be backfilled, and by deliveries."""
    cron = deployment.training_schedule
    if not cron:
        return [LANDING]
    return AssetOrTimeSchedule(timetable=FromNowTimetable(cron, timezone="UTC"), assets=[LANDING])


def _schedule_tags(deployment: Deployment) -> list[str]:
    """Return a tag for the schedule by time: the list of DAGs shows only the asset of a schedule that has both."""
    return [schedule_name(deployment.training_schedule)] if deployment.training_schedule else []


@task
def open_run(params: dict[str, Any], run_id: str, dag_run: DagRunProtocol) -> str:
    """Validate the parameters, pin the deliveries and the reference that the run uses, and write its folder."""
    from ml.promotion.reference import find_reference
    from ml.tracking.models import find_baseline
    from ml.workflow.opening import open_run as open_

    as_of, since = None if params["as_of"] else dag_run.run_after, None
    if dag_run.run_type in INTERVAL_RUNS:
        as_of, since = dag_run.data_interval_end, dag_run.data_interval_start
    with airflow_errors():
        now = load_deployment()
        defaults, roots = now.defaults, now.allowed()
        run = open_(now.storage, run_id, dict(params), as_of, since, defaults, find_reference, roots, find_baseline)
        return run.uri


deployment = load_deployment()
with DAG(
    "open_images_training",
    description="Trains and evaluates a classifier of perceived gender presentation on an Open Images release",
    doc_md=DOC,
    schedule=_schedule(deployment),
    start_date=datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC),  # the first release: no backfill starts earlier
    params=form(deployment.defaults, deployment.networks),
    tags=["open-images", "training", "spark", "tensorflow", *_schedule_tags(deployment)],
    owner_links={"machine-learning": "https://storage.googleapis.com/openimages/web/index.html"},
    **dag_defaults(deployment),
) as dag:
    opened = open_run()  # Airflow passes params, run_id and dag_run from its context

    # The evaluation's event is the promotion DAG's schedule.
    evaluation = {"outlets": [CANDIDATE], "event_metrics": ("faces", "accuracy", "majority")}
    tasks = stage_tasks(RUN, deployment, extras={"evaluate": evaluation})
    opened >> [task for task in tasks.values() if not task.upstream_task_ids]
