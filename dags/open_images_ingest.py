"""The ingest flow: download annotations and photographs of Open Images as a delivery of the landing."""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, task

from ml.config.deployment import Deployment, load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.timetable import FromNowTimetable

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

DOC = """
### Open Images to a delivery

Picks images by class, subset, number and label, fetches their annotations and photographs, and adds them to the landing
as one sealed delivery. **Trigger** opens a form with every parameter; its defaults come from the deployment. With *Dry
run* it only tells the number of images, bytes, free disk space and the estimated time.

| task | output | XCom |
|---|---|---|
| `download` | the delivery: photographs, their rows, lists of authors and of failures | images, bytes, failures |

Each interval of the schedule `ingest_schedule` adds a delivery, dated the last day of the interval, of images that no
other delivery holds. One download runs at a time, so that two never pick the same images; a backfill adds one delivery
for each interval. A retry, or a run of an interval that failed, fetches only what is missing. A complete delivery is
left as it is. If no image is left to pick, the run is skipped.

This DAG emits no asset event. `open_images_landing` finds the delivery, checks it and announces it, which starts
`open_images_training`.
"""
log = logging.getLogger(__name__)
INTERVAL_RUNS = ("scheduled", "backfill")  # Airflow gives manual runs an interval too, which must not count
HOURS = datetime.timedelta(hours=48)  # half a terabyte of photographs at 3 MB/s


def _schedule(deployment: Deployment) -> FromNowTimetable | None:
    """Return a schedule with data intervals, so that it can be backfilled."""
    cron = deployment.ingest_schedule
    return FromNowTimetable(cron, timezone="UTC") if cron else None


@task(max_active_tis_per_dag=1, execution_timeout=HOURS)
def download(params: dict[str, Any], dag_run: DagRunProtocol) -> dict[str, Any]:
    """Fetch a delivery and seal it, or tell what that would take."""
    from ml.download.delivery import download as fetch
    from ml.download.delivery import open_target
    from ml.download.estimate import estimate
    from ml.download.landing import date_of_interval

    with airflow_errors():
        date = None if params["date"] else dag_run.run_after.date()
        if dag_run.run_type in INTERVAL_RUNS:
            date = date_of_interval(dag_run.data_interval_start, dag_run.data_interval_end)
        deployment = load_deployment()
        target = open_target(deployment.storage, dict(params), deployment, date, deployment.allowed())
        told = estimate(target) if target.config.dry_run else fetch(target)
        log.info("%s", told)
        return told.json_values()


deployment = load_deployment()
with DAG(
    "open_images_ingest",
    description="Downloads annotations and photographs of Open Images as a delivery of the landing",
    doc_md=DOC,
    schedule=_schedule(deployment),
    start_date=datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC),
    params=form(deployment.download),
    tags=["open-images", "landing"],
    **dag_defaults(deployment),
) as dag:
    download()  # Airflow passes params and dag_run from its context
