"""The prediction flow: the faces of a folder or bucket of photographs, classified by a trained model."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from ml.config.deployment import load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.operators.spark import SparkStageOperator

DOC = """
### Photographs to perceived gender presentation, in bulk

Lists the JPEG and PNG files of a folder or bucket, finds the faces on them with Spark and classifies each with a
trained model. **Trigger** opens a form with every parameter; its defaults are those of the deployment.

| task | what it leaves | XCom |
|---|---|---|
| `open_prediction` | the run folder with the listing, the parameters and the model | its URI |
| `predict` | tables `faces` and `photographs`, some annotated photographs | faces by label, ledger of photographs |

A folder in which nothing has changed is found done for the same model and parameters and costs no work; `force` redoes
it. With one new photograph all are classified again.

The labels are gender presentation **as perceived by annotators in a photograph**, never anybody's identity. The answers
must not be used to decide about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='open_prediction') }}"


@task(task_display_name="open prediction")
def open_prediction(params: dict[str, Any], run_id: str) -> str:
    """Validate the parameters, list the photographs, choose the model, and write the run folder."""
    from ml.prediction.run import open_prediction as open_

    with airflow_errors():
        deployment = load_deployment()
        return open_(deployment.storage, run_id, dict(params), deployment).uri


deployment = load_deployment()
with DAG(
    "open_images_prediction",
    description="Photographs of a folder or bucket to perceived gender presentation, face by face",
    doc_md=DOC,
    schedule=None,
    params=form(deployment.prediction),
    tags=["open-images", "prediction", "spark", "tensorflow"],
    **dag_defaults(deployment),
) as dag:
    opened = open_prediction()  # Airflow hands in params and run_id, which are names of its context
    opened >> SparkStageOperator(task_id="predict", stage="predict", run=RUN, deployment=deployment)
