"""The comparison flow: compare any two evaluated models on the same test faces."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from ml.config.comparison import ModelsConfig
from ml.config.deployment import load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.operators.process import ProcessStageOperator

DOC = """
### Two models on the same test faces

Lets two evaluated models predict the test faces of the first one's run, and measures the paired difference of their
accuracies, with its interval and McNemar's test. The page **Models** starts it for two models that are selected there;
**Trigger** opens a form. It decides nothing: `open_images_promotion` does.

| task | output | XCom |
|---|---|---|
| `open_comparison` | the run folder with both models | its URI |
| `compare` | `compare.html`, `compare.json` | differences with intervals |

If the two were compared before, the earlier result is reused.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the models to make decisions about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='open_comparison') }}"


@task
def open_comparison(params: dict[str, Any], run_id: str) -> str:
    """Validate the parameters, find both models, and write the run folder."""
    from ml.promotion.comparison import open_comparison as open_

    with airflow_errors():
        deployment = load_deployment()
        return open_(deployment.storage, run_id, dict(params), deployment, deployment.allowed()).uri


deployment = load_deployment()
with DAG(
    "open_images_comparison",
    description="Compares two evaluated models on the same test faces",
    doc_md=DOC,
    schedule=None,
    is_paused_upon_creation=False,  # the page 'Models' starts it, where nobody would notice that it is paused
    params=form(ModelsConfig()),
    tags=["open-images", "evaluation"],
    **dag_defaults(deployment),
) as dag:
    opened = open_comparison()  # Airflow passes params and run_id from its context
    opened >> ProcessStageOperator(task_id="compare", stage="compare", run=RUN, deployment=deployment)
