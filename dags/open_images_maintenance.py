"""The clean-up: what nobody holds any more is listed, and removed only where that is asked for."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG, Context, task
from airflow.sdk.exceptions import AirflowSkipException

from ml.config.deployment import load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors

DOC = """
### Cleans up the storage root

Lists, once a week, what may go: attempts that were never committed, attempts that no run, experiment or registered
model holds, old run folders, and checkpoints of runs that are gone. **Trigger** with *Remove* switched on removes what
the plan lists, each after another look; what somebody came to need meanwhile stays.

| task | what it does | XCom |
|---|---|---|
| `plan` | lists what would go and why, and removes nothing | the list's URI, numbers and sizes, the largest items |
| `remove` | removes exactly that; skipped unless *Remove* is on | what was removed, and what stayed after all |

Nothing goes that was written within the grace period, that a run under way needs, or that belongs to the newest
evaluated runs or to a registered model.
"""
LARGEST = 50  # items in XCom; the plan's file has all
HOURS = datetime.timedelta(hours=12)  # an object store takes a while to remove the files of a year


def is_running(context: Context) -> Any:
    """Tell of a flow's run whether Airflow has it queued or under way."""

    def ask(flow: str, run_id: str) -> bool:
        count = context["ti"].get_dr_count(dag_id=f"open_images_{flow}", run_ids=[run_id], states=["queued", "running"])
        return bool(count)

    return ask


@task(execution_timeout=HOURS)
def plan(**context: Any) -> dict[str, Any]:
    """List what may go, and write the list below `maintenance/` of the storage root."""
    from ml.retention.items import summarize
    from ml.retention.plan import plan as make_plan

    with airflow_errors():
        deployment = load_deployment()
        made = make_plan(deployment.storage, dict(context["params"]), deployment, is_running(context))
    largest = sorted(made.items, key=lambda item: item.bytes, reverse=True)[:LARGEST]
    return {
        "plan": made.uri,
        "goes": summarize(made.items),
        "kept": made.kept,
        "largest": [item.model_dump(include={"kind", "uri", "reason", "bytes"}) for item in largest],
    }


def skip_unless_asked(context: Context) -> None:
    """Skip the removal where neither the run nor the deployment asks for it."""
    if not context["params"]["remove"]:
        raise AirflowSkipException("A dry run: trigger the DAG with `remove` to remove what the plan lists.")


@task(pre_execute=skip_unless_asked, execution_timeout=HOURS)
def remove(planned: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Remove what the plan lists and nothing else."""
    from ml.retention.items import summarize
    from ml.retention.plan import load_plan
    from ml.retention.remove import remove as remove_planned

    with airflow_errors():
        outcome = remove_planned(load_plan(planned["plan"]), load_deployment(), is_running(context))
    stayed = {item.uri: item.reason for item in outcome.stayed}
    return {"removed": summarize(outcome.removed), "stayed": stayed}


deployment = load_deployment()
with DAG(
    "open_images_maintenance",
    description="Lists what nobody holds any more in the storage root, and removes it where that is asked for",
    doc_md=DOC,
    schedule="@weekly",
    max_active_runs=1,
    params=form(deployment.maintenance),
    tags=["open-images", "maintenance"],
    **dag_defaults(deployment),
) as dag:
    remove(plan())
