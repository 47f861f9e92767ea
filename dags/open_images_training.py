"""The training flow: a release of Open Images becomes chips, features, a trained network and a report."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, AssetOrTimeSchedule, Context, CronDataIntervalTimetable, TaskGroup, task
from airflow.sdk.exceptions import AirflowSkipException

from ml.config.deployment import load_deployment
from ml.errors import NothingNewError, StageError
from open_images.assets import CANDIDATE, LANDING
from open_images.defaults import dag_defaults, form
from open_images.operators import ProcessStageOperator, SparkStageOperator, fail

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from airflow.sdk.types import DagRunProtocol

DOC = """
### Open Images to a classifier of perceived gender presentation

Takes a release of Open Images V5 (annotation files and photographs) through Spark and TensorFlow to a trained network
and a report. **Trigger** opens a form with every parameter; its defaults are those of the deployment.

| task | what it leaves | XCom |
|---|---|---|
| `open_run` | the run folder with the validated parameters | its URI |
| `data.extract` | typed tables of the release | counts of rows, nulls, faults |
| `data.explore` | plots and a contact sheet | the analyses |
| `data.join_labels` | one row a face: label, or why not | ledger of reasons |
| `data.chip` | upright square face chips | ledger of reasons |
| `data.featurize` | shuffled tensors by split | faces by split and label |
| `model.train` | network, history, curves | best epoch, validation metrics, URIs |
| `model.evaluate` | `report.html`, model card, metrics, plots | metrics with intervals, URIs |
| `model.compare` | this model beside that of `baseline`; skipped without one | differences with intervals, URIs |

It runs on its schedule, for each delivery that `open_images_landing` announces, and by hand. A scheduled or backfilled
run sees the deliveries dated before the end of its data interval, and is skipped where none is dated in that interval
(`retrain_without_news` trains all the same); another run sees those up to the day `as_of`, or to the time of the run.

A stage whose inputs and parameters have not changed is found done and costs no work; `force` redoes it.

The labels are gender presentation **as perceived by annotators in a photograph**, never anybody's identity. The model
must not be used to decide about people.
"""
INTERVAL_RUNS = ("scheduled", "backfill")  # of the others, those by hand may have an interval that nobody asked for
RUN = "{{ ti.xcom_pull(task_ids='open_run') }}"


def _schedule() -> AssetOrTimeSchedule | list[Asset]:
    """On time, with a data interval for each run, so that it can be backfilled; and by deliveries."""
    cron = load_deployment().training_schedule
    if not cron:
        return [LANDING]
    return AssetOrTimeSchedule(timetable=CronDataIntervalTimetable(cron, timezone="UTC"), assets=[LANDING])


@task(task_display_name="open run")
def open_run(params: dict[str, Any], run_id: str, dag_run: DagRunProtocol) -> str:
    """Validate the parameters, look at the deliveries, freeze what the run sees, and write the run folder."""
    from ml.workflow.opening import open_run as open_

    as_of, since = None if params["as_of"] else dag_run.run_after, None
    if dag_run.run_type in INTERVAL_RUNS:
        as_of, since = dag_run.data_interval_end, dag_run.data_interval_start
    try:
        return open_(load_deployment().storage, run_id, dict(params), as_of, since).uri
    except NothingNewError as nothing:
        raise AirflowSkipException(str(nothing)) from nothing
    except StageError as error:
        raise fail(error) from error


def skip_without_baseline(context: Context) -> None:
    """Skip the comparison, before it starts anything, where the run names nothing to compare with."""
    if not context["params"]["baseline"]:
        raise AirflowSkipException("The run names no baseline to compare with.")


# One task instance of a stage at a time over all runs: a backfill does not drown the machine, and what two runs need
# is done by the first and found by the second.
with DAG(
    "open_images_training",
    description="Open Images release to a trained and evaluated classifier of perceived gender presentation",
    doc_md=DOC,
    schedule=_schedule(),
    start_date=datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC),  # of the first release: backfills go no further
    params=form(load_deployment().defaults),
    tags=["open-images", "training", "spark", "tensorflow"],
    owner_links={"machine-learning": "https://storage.googleapis.com/openimages/web/index.html"},
    **dag_defaults(),
) as dag:
    opened = open_run()  # Airflow hands in params, run_id and dag_run, which are names of its context

    with TaskGroup("data", tooltip="From the release's files to features, on Spark"):
        extract, explore, join_labels, chip, featurize = (
            SparkStageOperator(task_id=stage, stage=stage, run=RUN, max_active_tis_per_dag=1)
            for stage in ("extract", "explore", "join_labels", "chip", "featurize")
        )
        extract >> [explore, join_labels]
        join_labels >> chip >> featurize

    with TaskGroup("model", tooltip="From features to a report, in TensorFlow"):
        train = ProcessStageOperator(task_id="train", stage="train", run=RUN, max_active_tis_per_dag=1)
        evaluate = ProcessStageOperator(
            task_id="evaluate",
            stage="evaluate",
            run=RUN,
            max_active_tis_per_dag=1,
            outlets=[CANDIDATE],  # the promotion DAG's schedule
            event_metrics=("faces", "accuracy", "majority"),
        )
        compare = ProcessStageOperator(
            task_id="compare", stage="compare", run=RUN, max_active_tis_per_dag=1, pre_execute=skip_without_baseline
        )
        train >> [evaluate, compare]

    opened >> extract
    featurize >> train
    explore >> evaluate
