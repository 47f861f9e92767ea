"""The training flow: a release of Open Images becomes chips, features, a trained network and a report."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Context, TaskGroup, task
from airflow.sdk.exceptions import AirflowSkipException

from ml.config import load_deployment
from ml.errors import StageError
from open_images.defaults import dag_defaults, form
from open_images.operators import ProcessStageOperator, SparkStageOperator, fail

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

A stage whose inputs and parameters have not changed is found done and costs no work; `force` redoes it.

The labels are gender presentation **as perceived by annotators in a photograph**, never anybody's identity. The model
must not be used to decide about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='open_run') }}"


@task(task_display_name="open run")
def open_run(params: dict[str, Any], run_id: str) -> str:
    """Validate the parameters, look at the release, and write the run folder."""
    from ml.runs import open_run as open_

    try:
        return open_(load_deployment().storage, run_id, dict(params)).uri
    except StageError as error:
        raise fail(error) from error


def skip_without_baseline(context: Context) -> None:
    """Skip the comparison, before it starts anything, where the run names nothing to compare with."""
    if not context["params"]["baseline"]:
        raise AirflowSkipException("The run names no baseline to compare with.")


with DAG(
    "open_images_training",
    description="Open Images release to a trained and evaluated classifier of perceived gender presentation",
    doc_md=DOC,
    schedule=None,
    params=form(load_deployment().defaults),
    tags=["open-images", "training", "spark", "tensorflow"],
    owner_links={"machine-learning": "https://storage.googleapis.com/openimages/web/index.html"},
    **dag_defaults(),
) as dag:
    opened = open_run()  # Airflow hands in params and run_id, which are names of its context

    with TaskGroup("data", tooltip="From the release's files to features, on Spark"):
        extract, explore, join_labels, chip, featurize = (
            SparkStageOperator(task_id=stage, stage=stage, run=RUN)
            for stage in ("extract", "explore", "join_labels", "chip", "featurize")
        )
        extract >> [explore, join_labels]
        join_labels >> chip >> featurize

    with TaskGroup("model", tooltip="From features to a report, in TensorFlow"):
        train, evaluate = (ProcessStageOperator(task_id=stage, stage=stage, run=RUN) for stage in ("train", "evaluate"))
        compare = ProcessStageOperator(task_id="compare", stage="compare", run=RUN, pre_execute=skip_without_baseline)
        train >> [evaluate, compare]

    opened >> extract
    featurize >> train
    explore >> evaluate
