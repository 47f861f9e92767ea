"""The promotion flow: judge a candidate against the champion, ask a person to approve it, and promote it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Context, task

from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError
from open_images.approval import APPROVE, VerdictApprovalOperator
from open_images.assets import CANDIDATE, CHAMPION, list_events
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors, skip
from open_images.operators.process import ProcessStageOperator

DOC = """
### Candidate to champion

Runs whenever `open_images_training` has evaluated a model. **Trigger** runs it for a version or training of your
choice. Predictions use the champion: the version with the alias `champion` in MLflow's registry.

| task | what it does | XCom |
|---|---|---|
| `choose` | registers the candidate trained on the latest deliveries | candidate, champion, run folder |
| `compare` | evaluates both models on the same test faces; skipped without a champion | differences with intervals |
| `gate` | applies the rules: majority baseline, margin, slices, age | the verdict, with its table |
| `approve` | asks a person; no answer is a rejection; skipped in mode `automatic` | the answer and its author |
| `promote` | moves the alias; the old champion becomes `previous` | the version |
| `refuse` | runs instead of `promote` if the gate or a person says no | the decision and the reason |
| `move_back` | runs alone, with the parameter `move_back`: makes `previous` champion again | both versions |

If the gate refuses a candidate or a person rejects it, the run succeeds, with `refuse` instead of `promote`. The tab
**Report** of a run shows the verdict with its reasons. Each candidate is decided once; name it as `candidate` to decide
again. Models from backfills are candidates only if
`include_backfills` is set.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the model to make decisions about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='choose')['run'] }}"


@task(inlets=[CANDIDATE])
def choose(params: dict[str, Any], run_id: str, triggering_asset_events: Any, inlet_events: Any) -> dict[str, Any]:
    """Choose and register the candidate, and write the run folder."""
    from ml.promotion.run import NothingToDecideError, open_promotion

    if params["move_back"]:
        raise skip("This run only moves the champion back.")
    triggered = triggering_asset_events.get(CANDIDATE, [])
    with airflow_errors():
        deployment = load_deployment()
        # Airflow passes only the first of the events that arrived while the previous run waited for its answer.
        since = inlet_events[CANDIDATE].after(min(event.timestamp for event in triggered)) if triggered else []
        try:
            extras = [event.extra for event in list_events(CANDIDATE, since)]
            roots = deployment.allowed()
            promotion = open_promotion(deployment.storage, run_id, dict(params), deployment, extras, roots)
        except NothingToDecideError as nothing:
            raise skip(str(nothing)) from nothing
    return promotion.model_dump(mode="json")


def skip_without_comparison(context: Context) -> None:
    """Skip the comparison before it starts a job if there is nothing to compare with."""
    if not context["ti"].xcom_pull(task_ids="choose")["compares"]:
        raise skip("There is no champion yet, or the run turned the comparison off.")


@task(trigger_rule="none_failed_min_one_success")
def gate(ti: Any) -> dict[str, Any]:
    """Apply the promotion rules to the candidate."""
    from ml.promotion.run import gate as judge

    with airflow_errors():
        verdict = judge(ti.xcom_pull(task_ids="choose")["run"])
    return {**verdict.model_dump(mode="json"), "reasons": verdict.reasons, "markdown": verdict.markdown()}


def is_rejected(answer: dict[str, Any] | None) -> bool:
    """Return whether a person, or the end of the time allowed, rejected the candidate."""
    return bool(answer) and answer["chosen_options"] != [APPROVE]


@task(trigger_rule="none_failed_min_one_success", outlets=[CHAMPION])
def promote(params: dict[str, Any], run_id: str, ti: Any, outlet_events: Any) -> dict[str, Any]:
    """Make the candidate champion, unless it was refused."""
    from ml.promotion import run as promotion_run

    chosen, verdict, answer = (ti.xcom_pull(task_ids=name) for name in ("choose", "gate", "approve"))
    if not verdict["passed"] or is_rejected(answer):
        raise skip("The candidate is not promoted: see the task `refuse`.")
    with airflow_errors():
        if not answer and params["mode"] != "automatic":
            raise ConfigurationError(
                "There is no answer: the task `approve` was marked by hand.", "Clear that task and answer."
            )
        who = (answer["responded_by_user"] or {}).get("name") if answer else f"mode automatic, run {run_id}"
        version = promotion_run.promote(chosen["run"], f"by {who}")
    extra = {"champion": version.model_dump(mode="json"), "previous": chosen["champion"], "by": who}
    outlet_events[CHAMPION].extra = extra
    return extra


@task(trigger_rule="none_failed_min_one_success")
def refuse(ti: Any) -> dict[str, str]:
    """Record why the candidate is not promoted, unless it was approved."""
    from ml.promotion import run as promotion_run

    chosen, verdict, answer = (ti.xcom_pull(task_ids=name) for name in ("choose", "gate", "approve"))
    if not verdict["passed"]:
        return {"decision": "refused", "reason": verdict["reasons"]}
    if not is_rejected(answer):
        raise skip("The candidate was not refused.")
    with airflow_errors():
        who = (answer["responded_by_user"] or {}).get("name")
        return {"decision": "rejected", "reason": promotion_run.reject(chosen["run"], who)}


@task(outlets=[CHAMPION])
def move_back(params: dict[str, Any], dag_run: Any, outlet_events: Any) -> dict[str, Any]:
    """Make the previous champion champion again."""
    from ml.promotion import run as promotion_run

    if not params["move_back"]:
        raise skip("The parameter `move_back` is off.")
    deployment, who = load_deployment(), dag_run.triggering_user_name or f"run {dag_run.run_id}"
    with airflow_errors():
        champion, previous = promotion_run.move_back(
            deployment.storage, deployment.defaults, f"by {who}", dag_run.run_id
        )
    extra = {"champion": champion.model_dump(mode="json"), "previous": previous.model_dump(mode="json"), "by": who}
    outlet_events[CHAMPION].extra = extra
    return extra


deployment = load_deployment()
with DAG(
    "open_images_promotion",
    description="Judges a candidate model against the champion, asks for approval, and promotes it",
    doc_md=DOC,
    schedule=[CANDIDATE],
    max_active_runs=1,  # each candidate is judged against the champion that the previous run left
    params=form(deployment.promotion),
    tags=["open-images", "promotion"],
    **dag_defaults(deployment),
) as dag:
    compare = ProcessStageOperator(
        task_id="compare", stage="compare", run=RUN, deployment=deployment, pre_execute=skip_without_comparison
    )
    approve = VerdictApprovalOperator(
        task_id="approve",
        subject="Promote {{ ti.xcom_pull(task_ids='gate')['candidate']['model'] }}, version "
        "{{ ti.xcom_pull(task_ids='gate')['candidate']['number'] }}?",
        verdict="gate",
        mode="{{ params.mode }}",
        hours="{{ params.approval_hours }}",
        execution_timeout=None,  # `approval_hours` limits the wait
    )
    # Airflow passes the arguments from its context.
    chosen, judged, promoted, refused = choose(), gate(), promote(), refuse()
    chosen >> compare >> judged >> approve >> [promoted, refused]
    chosen >> judged >> [promoted, refused]
    move_back()
