"""The maintenance flow: list what is no longer needed, and remove it only on request."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG, Context, task

from ml.config.deployment import load_deployment
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors, skip

DOC = """
### Clean up the storage root

Lists once a week what can be removed: attempts that were never committed, attempts that no run, experiment or
registered model refers to, old run folders, and checkpoints of removed runs. **Trigger** with *Remove* switched on
removes what the plan lists. It checks each item again first and keeps what is needed by then.

| task | what it does | XCom |
|---|---|---|
| `plan` | lists what can be removed and why; removes nothing | the plan's URI, counts and sizes, the largest items |
| `remove` | removes what the plan lists; skipped unless *Remove* is on | what was removed, and what was kept |

It never removes what was written within the grace period, what an active run needs, or what belongs to the newest
evaluated runs or to a registered model.
"""
LARGEST = 50  # items in XCom; the plan's file lists all of them
HOURS = datetime.timedelta(hours=12)  # an object store needs hours to remove a year's files


def is_running(context: Context) -> Any:
    """Return a function that says whether a flow's run is queued or running in Airflow."""

    def check(flow: str, run_id: str) -> bool:
        count = context["ti"].get_dr_count(dag_id=f"open_images_{flow}", run_ids=[run_id], states=["queued", "running"])
        return bool(count)

    return check


@task(execution_timeout=HOURS)
def plan(**context: Any) -> dict[str, Any]:
    """List what can be removed, and write the plan under `maintenance/` in the storage root."""
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
    """Skip the removal unless the run or the deployment requests it."""
    if not context["params"]["remove"]:
        raise skip("Dry run: trigger the DAG with `remove` to remove what the plan lists.")


@task(pre_execute=skip_unless_asked, execution_timeout=HOURS)
def remove(planned: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Remove what the plan lists, and nothing else."""
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
    description="Lists what the storage root no longer needs, and removes it on request",
    doc_md=DOC,
    schedule="@weekly",
    max_active_runs=1,
    params=form(deployment.maintenance),
    tags=["open-images", "maintenance"],
    **dag_defaults(deployment),
) as dag:
    remove(plan())
