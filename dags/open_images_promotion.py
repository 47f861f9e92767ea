"""The promotion flow: judge a candidate against the champion, ask a person to approve it, and promote it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ml.config.deployment import load_deployment
from open_images.approval import APPROVE, VerdictApprovalOperator
from open_images.assets import CANDIDATE, CHAMPION
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
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
| `move_back` | runs alone, with the parameter `move_back`: makes `previous` champion again | both versions |

If the gate refuses a candidate or a person rejects it, the run succeeds and `promote` is skipped. Each candidate is
decided once; name it as `candidate` to decide again. Models from backfills are candidates only if
`include_backfills` is set.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the model to make decisions about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='choose')['run'] }}"


@task(inlets=[CANDIDATE])
def choose(
    params: dict[str, Any], run_id: str, triggering_asset_events: Any, inlet_events: Any, ti: Any
) -> dict[str, Any]:
    """Choose and register the candidate, and write the run folder."""
    from ml.promotion.run import NothingToDecideError, open_promotion

    if params["move_back"]:
        raise AirflowSkipException("This run only moves the champion back.")
    triggered = triggering_asset_events.get(CANDIDATE, [])
    # Airflow passes only the first of the events that arrived while the previous run waited for its answer.
    events = inlet_events[CANDIDATE].after(min(event.timestamp for event in triggered)) if triggered else []
    with airflow_errors():
        deployment = load_deployment()
        try:
            extras = [event.extra for event in events]
            roots = deployment.allowed()
            promotion = open_promotion(deployment.storage, run_id, dict(params), deployment, extras, roots)
        except NothingToDecideError as nothing:
            ti.xcom_push("reason", str(nothing))
            raise AirflowSkipException(str(nothing)) from nothing
    return promotion.model_dump(mode="json")


def skip_without_comparison(context: Context) -> None:
    """Skip the comparison before it starts a job if there is nothing to compare with."""
    if not context["ti"].xcom_pull(task_ids="choose")["compares"]:
        raise AirflowSkipException("There is no champion yet, or the run turned the comparison off.")


@task(trigger_rule="none_failed_min_one_success")
def gate(ti: Any) -> dict[str, Any]:
    """Apply the promotion rules to the candidate."""
    from ml.promotion.run import gate as judge

    with airflow_errors():
        verdict = judge(ti.xcom_pull(task_ids="choose")["run"])
    return {**verdict.model_dump(mode="json"), "reasons": verdict.reasons, "markdown": verdict.markdown()}


@task(trigger_rule="none_failed_min_one_success", outlets=[CHAMPION])
def promote(params: dict[str, Any], run_id: str, ti: Any, outlet_events: Any) -> dict[str, Any]:
    """Make the candidate champion, or record why it is not."""
    from ml.promotion import run as promotion_run

    chosen, verdict, answer = (ti.xcom_pull(task_ids=name) for name in ("choose", "gate", "approve"))
    if not verdict["passed"]:
        raise AirflowSkipException(f"The gate refuses the candidate: {verdict['reasons']}")
    if not answer and params["mode"] != "automatic":
        raise AirflowFailException("There is no answer: the task `approve` was marked by hand. Clear it and answer.")
    who = (answer["responded_by_user"] or {}).get("name") if answer else f"mode automatic, run {run_id}"
    with airflow_errors():
        if answer and answer["chosen_options"] != [APPROVE]:
            raise AirflowSkipException(promotion_run.reject(chosen["run"], who))
        version = promotion_run.promote(chosen["run"], f"by {who}")
    extra = {"champion": version.model_dump(mode="json"), "previous": chosen["champion"], "by": who}
    outlet_events[CHAMPION].extra = extra
    return extra


@task(outlets=[CHAMPION])
def move_back(params: dict[str, Any], dag_run: Any, outlet_events: Any) -> dict[str, Any]:
    """Make the previous champion champion again."""
    from ml.promotion import run as promotion_run

    if not params["move_back"]:
        raise AirflowSkipException("The parameter `move_back` is off.")
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
    chosen, judged, promoted = choose(), gate(), promote()  # Airflow passes the arguments from its context
    chosen >> compare >> judged >> approve >> promoted
    chosen >> judged >> promoted
    move_back()
