"""The prediction flow: classify the faces in a folder or bucket of photographs with a trained model."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from ml.config.deployment import load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.operators.process import ProcessStageOperator
from open_images.operators.spark import SparkStageOperator

DOC = """
### Perceived gender presentation of photographs in bulk

Lists the JPEG and PNG files in a folder or bucket, detects the faces in them with Spark and classifies each face with
a trained model. **Trigger** opens a form with every parameter; its defaults come from the deployment.

| task | output | XCom |
|---|---|---|
| `open_prediction` | the run folder with the listing, the parameters and the model | its URI |
| `predict` | tables `faces` and `photographs`, sample annotated photographs | faces by label, ledger of photographs |
| `monitor` | `monitoring.html`, `monitoring.json`: the answers beside the model's training | the differences |

If neither the folder, the model nor the parameters have changed, the earlier predictions are reused; `force` redoes
them. A single new photograph causes all photographs to be classified again.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the predictions to make decisions about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='open_prediction') }}"


@task
def open_prediction(params: dict[str, Any], run_id: str) -> str:
    """Validate the parameters, list the photographs, choose the model, and write the run folder."""
    from ml.prediction.run import open_prediction as open_

    with airflow_errors():
        deployment = load_deployment()
        return open_(deployment.storage, run_id, dict(params), deployment, deployment.allowed()).uri


deployment = load_deployment()
with DAG(
    "open_images_prediction",
    description="Classifies the perceived gender presentation of each face in a folder or bucket of photographs",
    doc_md=DOC,
    schedule=None,
    params=form(deployment.prediction),
    tags=["open-images", "prediction", "spark", "tensorflow"],
    **dag_defaults(deployment),
) as dag:
    opened = open_prediction()  # Airflow passes params and run_id from its context
    predicted = SparkStageOperator(task_id="predict", stage="predict", run=RUN, deployment=deployment)
    monitored = ProcessStageOperator(task_id="monitor", stage="monitor", run=RUN, deployment=deployment)
    opened >> predicted >> monitored
