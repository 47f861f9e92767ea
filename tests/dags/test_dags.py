"""The DAGs: how they parse, their structure, their forms, and how their operators behave around a job."""

import copy
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from types import SimpleNamespace

import pytest

from ml import storage
from ml.config.deployment import Deployment
from ml.errors import DataError
from ml.flow.table import STAGES, find_stage
from ml.workflow.execution import Result, run_stage
from ml.workflow.run import FlowRun, load_run
from support.records import Stated

DAGS = tuple(
    f"open_images_{name}"
    for name in ("training", "prediction", "landing", "ingest", "promotion", "comparison", "maintenance", "sweep")
)
HEAVY = {"tensorflow", "keras", "pyspark", "cv2", "mlflow", "pandas", "pyarrow", "matplotlib", "sklearn"}


@pytest.fixture(scope="module")
def dag():
    from open_images_training import dag

    return dag


@pytest.fixture(scope="module")
def prediction():
    from open_images_prediction import dag

    return dag


@pytest.fixture(scope="module")
def promotion():
    from open_images_promotion import dag

    return dag


@pytest.fixture(scope="module")
def maintenance():
    from open_images_maintenance import dag

    return dag


@pytest.fixture(scope="module")
def parsed(airflow_home):
    """By DAG file: the heavy modules that are loaded once a process has parsed it, and its warnings."""
    code = (
        "import importlib, json, sys, warnings\n"
        "import airflow.sdk\n"
        "parsed = {}\n"
        "for name in sys.argv[1].split(','):\n"
        "    with warnings.catch_warnings(record=True) as told:\n"
        "        warnings.simplefilter('always')\n"
        "        importlib.import_module(name)\n"
        "    parsed[name] = sorted(sys.modules), [str(w.message) for w in told if 'packages' not in w.filename]\n"
        "print(json.dumps(parsed))\n"
    )
    folders = [p for p in sys.path if p.endswith(("dags", "plugins"))]
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(DAGS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", DAGS)
def test_parsing_loads_nothing_heavy_and_warns_of_nothing(parsed, module):
    modules, warnings = parsed[module]
    assert not HEAVY & set(modules)
    assert warnings == []


def test_the_folder_has_no_import_error_and_no_warning(airflow_home):
    from airflow.dag_processing.dagbag import DagBag

    folder = next(p for p in sys.path if p.endswith("dags"))
    bag = DagBag(folder)
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert set(bag.dags) >= set(DAGS)


def test_what_runs_after_what(dag):
    after = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert after == {
        "open_run": ["data.extract"],
        "data.extract": ["data.join_labels"],
        "data.join_labels": ["data.chip"],
        "data.chip": ["data.featurize"],
        "data.featurize": ["model.explore", "model.train"],
        "model.explore": ["model.evaluate"],
        "model.train": ["model.compare", "model.evaluate", "model.suspects"],
        "model.compare": [],
        "model.evaluate": [],
        "model.suspects": [],
    }


def test_the_wiring_agrees_with_what_each_stage_reads(dag):
    for task in dag.tasks:
        if task.task_id == "open_run":
            continue
        above = {upstream.split(".")[-1] for upstream in task.get_flat_relative_ids(upstream=True)}
        assert set(STAGES[task.stage].inputs) <= above


def test_the_dag_says_what_it_is_and_whose(dag):
    assert dag.doc_md
    assert "perceived by annotators" in dag.doc_md
    assert dag.tags
    assert {task.owner for task in dag.tasks} == {"machine-learning"}


def test_spark_stages_submit_the_job_of_their_name_through_the_connection(dag):
    for stage in ("extract", "join_labels", "chip", "featurize"):
        task = dag.get_task(f"data.{stage}")
        assert os.path.isfile(task.application)
        assert task.application.endswith(f"spark_jobs/{stage}.py")
        assert task._conn_id == "spark_default"


def test_the_form_has_a_field_for_every_parameter_in_titled_sections(dag):
    from ml.config.training import TrainingConfig

    params = dag.params
    assert set(params) == set(TrainingConfig.model_fields)
    for name in params:
        schema = params.get_param(name).schema
        assert schema["title"], name
        assert schema["section"], name
        assert params.get_param(name).description, name


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("images_per_label", 0, "minimum of 1"), ("network", "huge", "one of"), ("margin", 2, "maximum of 1")],
)
def test_a_wrong_value_does_not_pass_the_form(dag, name, value, told):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=told):
        dag.params.get_param(name).resolve(value)


def test_the_form_offers_the_networks_that_the_deployment_lists_and_no_other_code(dag):
    from airflow.sdk.exceptions import ParamValidationError

    from ml.config.training import TrainingConfig
    from open_images.defaults import form

    own = "our_networks.small:build"
    with pytest.raises(ParamValidationError, match="one of"):
        dag.params.get_param("network").resolve(own)
    assert form(TrainingConfig(), (own,))["network"].resolve(own) == own
    assert form(TrainingConfig(network=own))["network"].resolve() == own


def test_a_run_without_a_baseline_skips_the_comparison_before_it_starts(dag):
    from airflow.sdk.exceptions import AirflowSkipException

    hook = dag.get_task("model.compare")._pre_execute_hook
    with pytest.raises(AirflowSkipException, match="`baseline` is empty"):
        hook({"params": {"baseline": None}})
    hook({"params": {"baseline": "file:///storage/stages/train/0a/attempts/first"}})


# --- what all DAGs share


def test_every_task_is_retried_later_each_time_and_has_a_timeout(dag, prediction, maintenance):
    from datetime import timedelta

    for task in (*dag.tasks, *prediction.tasks, *maintenance.tasks):
        assert task.retries == 2, task
        assert task.retry_exponential_backoff > 1, task
        assert task.max_retry_delay == timedelta(minutes=10), task
        assert task.owner == "machine-learning"
        stage, cleans = getattr(task, "stage", None), task.dag_id == "open_images_maintenance"
        assert task.execution_timeout == timedelta(hours=find_stage(stage).timeout if stage else 12 if cleans else 1), (
            task
        )


def test_a_deployments_timeouts_reach_the_tasks(tmp_path, monkeypatch):
    from datetime import timedelta

    from open_images.operators.process import ProcessStageOperator
    from open_images.operators.spark import SparkStageOperator

    (tmp_path / "deployment.yaml").write_text("timeouts: {chip: 0.5, train: 60}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    assert SparkStageOperator(task_id="chip", stage="chip", run="").execution_timeout == timedelta(minutes=30)
    train = ProcessStageOperator(task_id="train", stage="train", run="")
    assert train.execution_timeout == timedelta(hours=60)
    assert SparkStageOperator(task_id="extract", stage="extract", run="").execution_timeout == timedelta(hours=6)


def test_a_deployments_pod_template_reaches_its_task_alone():
    from airflow.sdk import DAG

    from ml.config.deployment import Deployment
    from open_images.operators.tasks import stage_tasks

    with DAG("pods", schedule=None):
        tasks = stage_tasks("", Deployment(pod_templates={"train": "/etc/pods/training.yaml"}), extras={})
    configured = {name: task.executor_config for name, task in tasks.items() if task.executor_config}
    assert configured == {"train": {"pod_template_file": "/etc/pods/training.yaml"}}


@pytest.mark.parametrize(
    ("name", "task_id", "opener"),
    [
        ("dag", "open_run", "ml.workflow.opening.open_run"),
        ("prediction", "open_prediction", "ml.prediction.run.open_prediction"),
    ],
)
def test_opening_a_run_fails_at_once_for_bad_data_and_is_retried_for_what_may_pass(
    request, monkeypatch, name, task_id, opener
):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from ml import errors

    function = request.getfixturevalue(name).get_task(task_id).python_callable
    raised = []

    def open_(*_, **__):
        raise raised[0]

    monkeypatch.setattr(opener, open_)
    arguments = {"params": {"as_of": None}, "run_id": "run"}
    if name == "dag":
        arguments["dag_run"] = SimpleNamespace(run_type="manual", run_after=None)
    for error in (errors.DataError("bad", "mend"), errors.ConfigurationError("bad"), errors.ResourceError("bad")):
        raised[:] = [error]
        with pytest.raises(AirflowFailException, match=f"{error.kind}: bad"):
            function(**arguments)
    raised[:] = [errors.TransientError("bad")]
    with pytest.raises(AirflowException) as failed:
        function(**arguments)
    assert not isinstance(failed.value, AirflowFailException)
    raised[:] = [ConnectionResetError("peer")]  # unforeseen, so Airflow's retries are its own
    with pytest.raises(ConnectionResetError):
        function(**arguments)


# --- the maintenance DAG


def test_the_maintenance_dag_lists_weekly_and_removes_only_where_asked(maintenance):
    from airflow.sdk.exceptions import AirflowSkipException

    assert {task.task_id: sorted(task.downstream_task_ids) for task in maintenance.tasks} == {
        "plan": ["remove"],
        "remove": [],
    }
    assert maintenance.schedule == "@weekly"
    assert maintenance.max_active_runs == 1
    assert maintenance.params["remove"] is False
    hook = maintenance.get_task("remove")._pre_execute_hook
    with pytest.raises(AirflowSkipException, match="Dry run"):
        hook({"params": {"remove": False}})
    hook({"params": {"remove": True}})


def test_the_maintenance_tasks_plan_and_remove_and_ask_airflow_for_runs_under_way(
    maintenance, opened, tmp_path, monkeypatch
):
    (tmp_path / "deployment.yaml").write_text(f"storage: {tmp_path / 'storage'}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    runs = [opened(name) for name in ("over", "under way")]
    asked = []

    def get_dr_count(dag_id, run_ids, states):
        asked.append((dag_id, *run_ids, *states))
        return int(run_ids == ["under way"])

    params = {"grace_hours": 1e-9, "run_days": 1e-9, "keep_runs": 1, "remove": True}
    context = {"params": params, "ti": SimpleNamespace(get_dr_count=get_dr_count)}
    planned = maintenance.get_task("plan").python_callable(**context)
    assert [item["uri"] for item in planned["largest"]] == [runs[0].uri]
    assert planned["goes"].startswith("1 run (")
    assert planned["kept"] == {"run: under way": 1}
    assert ("open_images_training", "under way", "queued", "running") in asked
    assert json.loads(json.dumps(planned)) == planned
    done = maintenance.get_task("remove").python_callable(planned, **context)
    assert done == {"removed": planned["goes"], "stayed": {}}
    assert not storage.exists(runs[0].uri)
    assert storage.exists(runs[1].uri)


# --- the prediction DAG


def test_the_prediction_dag_opens_a_run_and_submits_the_job(prediction):
    assert {task.task_id: sorted(task.downstream_task_ids) for task in prediction.tasks} == {
        "open_prediction": ["predict"],
        "predict": ["monitor"],
        "monitor": [],
    }
    job = prediction.get_task("predict")
    assert job.application.endswith("spark_jobs/predict.py")
    assert os.path.isfile(job.application)
    assert "perceived by annotators" in prediction.doc_md
    assert prediction.schedule is None


def test_the_prediction_form_is_that_of_its_parameters_and_the_deployments(prediction, tmp_path, monkeypatch):
    from ml.config.deployment import load_deployment
    from ml.config.forms import form_fields
    from ml.config.prediction import PredictionConfig

    assert set(prediction.params) == set(PredictionConfig.model_fields)
    for name in prediction.params:
        schema = prediction.params.get_param(name).schema
        assert schema["title"], name
        assert schema["section"], name
    (tmp_path / "deployment.yaml").write_text("prediction: {sample: 3, photographs: s3://bucket/people}\nepochs: 7\n")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    fields = form_fields(load_deployment().prediction)
    assert (fields["sample"]["default"], fields["photographs"]["default"]) == (3, "s3://bucket/people")
    assert load_deployment().defaults.epochs == 7


@pytest.mark.parametrize(
    ("content", "told"), [("{sample: -1}", "sample = -1"), ("{epochs: 3}", "epochs"), ("5", "parameters")]
)
def test_a_wrong_prediction_default_of_a_deployment_is_named(tmp_path, monkeypatch, content, told):
    from ml.config.deployment import load_deployment
    from ml.errors import ConfigurationError

    (tmp_path / "deployment.yaml").write_text(f"prediction: {content}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    with pytest.raises(ConfigurationError, match=told):
        load_deployment()


@pytest.mark.parametrize(
    ("name", "value", "told"), [("min_confidence", 0.4, "minimum of 0.5"), ("force", "train", "one of")]
)
def test_a_wrong_value_does_not_pass_the_prediction_form(prediction, name, value, told):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=told):
        prediction.params.get_param(name).resolve(value)


def test_a_prediction_task_pushes_metrics_and_is_found_done_the_second_time(tmp_path, submitted):
    from ml.flow.table import PREDICT
    from ml.prediction.run import open_prediction
    from open_images.operators.spark import SparkStageOperator
    from support.models import make_model, png_of

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png_of((1, 2, 3)))
    model = make_model(tmp_path / "storage").uri
    run = open_prediction(
        str(tmp_path / "storage"), "run", {"photographs": str(tmp_path / "photos"), "model": model}, Deployment()
    )
    task = SparkStageOperator(task_id="predict", stage="predict", run=run.uri)

    def job(arguments):
        run_stage(run, PREDICT, lambda c: Result(Stated(faces={"male": 3}), {"classified": 2}), arguments["--attempt"])

    calls = submitted(job)
    pushed = task.execute({})
    assert (pushed["faces"], pushed["ledger"], pushed["stage"]) == ({"male": 3}, {"classified": 2}, "predict")
    assert task.execute({}) == {**pushed, "found_done": True}
    assert len(calls) == 1


# --- the promotion DAG


def test_what_a_promotion_does_after_what(promotion):
    assert {task.task_id: sorted(task.downstream_task_ids) for task in promotion.tasks} == {
        "choose": ["compare", "gate"],
        "compare": ["gate"],
        "gate": ["approve", "promote", "refuse"],
        "approve": ["promote", "refuse"],
        "promote": [],
        "refuse": [],
        "move_back": [],
    }
    assert promotion.max_active_runs == 1
    assert "perceived by annotators" in promotion.doc_md


def test_evaluated_models_start_promotions_and_promotions_tell_of_the_champion(dag, promotion):
    from open_images.assets import CANDIDATE, CHAMPION

    assert dag.get_task("model.evaluate").outlets == [CANDIDATE]
    assert list(promotion.timetable.asset_condition.objects) == [CANDIDATE]
    assert {task.task_id for task in promotion.tasks if task.outlets == [CHAMPION]} == {"promote", "move_back"}


def test_the_promotion_form_is_that_of_its_parameters_and_the_deployments(promotion, tmp_path, monkeypatch):
    from airflow.sdk.exceptions import ParamValidationError

    from ml.config.deployment import load_deployment
    from ml.config.promotion import PromotionConfig

    assert set(promotion.params) == set(PromotionConfig.model_fields)
    for name in promotion.params:
        schema = promotion.params.get_param(name).schema
        assert schema["title"], name
        assert schema["section"], name
    with pytest.raises(ParamValidationError, match="one of"):
        promotion.params.get_param("mode").resolve("never")
    (tmp_path / "deployment.yaml").write_text("promotion: {mode: automatic, margin: 0.02}\nepochs: 7\n")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    deployment = load_deployment()
    assert (deployment.promotion.mode, deployment.promotion.margin, deployment.defaults.epochs) == (
        "automatic",
        0.02,
        7,
    )


@pytest.fixture
def approval(promotion):
    """Execute the task `approve` with the gate's verdict; `asked` receives its question."""
    from airflow.providers.standard.operators import hitl

    asked = []

    def ask(verdict, mode="approve", hours="2"):
        task = copy.copy(promotion.get_task("approve"))
        task.mode, task.hours = mode, hours
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hitl, "upsert_hitl_detail", lambda **detail: asked.append(detail))
            ti = SimpleNamespace(id="id", xcom_pull=lambda task_ids: verdict)
            run = SimpleNamespace(dag_id="open_images_promotion", run_id="manual__1+00:00")
            task.execute({"ti": ti, "task_instance": ti, "dag_run": run})

    ask.asked = asked
    return ask


def test_the_approval_waits_as_long_as_the_run_says_and_is_then_a_rejection(promotion, approval):
    from airflow.sdk.exceptions import TaskAwaitingInput

    with pytest.raises(TaskAwaitingInput) as waits:
        approval({"passed": True, "reports": {"report": "file:///report.html"}})
    assert waits.value.timeout.total_seconds() == 2 * 3600
    assert promotion.get_task("approve").defaults == ["Reject"]


@pytest.mark.parametrize(
    ("reports", "linked"),
    [
        ({"report": "s3://b/report.html"}, ["evaluate/report.html"]),
        ({"report": "s3://b/report.html", "comparison": "s3://b/c"}, ["evaluate/report.html", "compare/compare.html"]),
    ],
)
def test_the_question_links_the_reports_where_the_routes_hand_them_out(approval, reports, linked):
    from airflow.sdk.exceptions import TaskAwaitingInput

    with pytest.raises(TaskAwaitingInput):
        approval({"passed": True, "reports": reports})
    (question,) = approval.asked
    found = re.findall(
        r"\]\(\S*/open-images/runs/open_images_promotion/manual__1%2B00%3A00/files/(\S+)\)", question["body"]
    )
    assert found == linked


@pytest.mark.parametrize(
    ("verdict", "mode", "told"),
    [({"passed": True}, "automatic", "automatic"), ({"passed": False}, "approve", "gate refused")],
)
def test_nobody_is_asked_in_automatic_mode_or_about_what_the_gate_refuses(approval, verdict, mode, told):
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match=told):
        approval(verdict, mode)


@pytest.mark.parametrize(("mode", "right"), [("automatic", True), ("approve", False)])
def test_an_approval_that_was_only_marked_promotes_nothing(promotion, monkeypatch, mode, right):
    from airflow.sdk.exceptions import AirflowFailException

    from ml.promotion import run as promotion_run

    moved = []
    version = SimpleNamespace(model_dump=lambda mode: {"number": 2})
    monkeypatch.setattr(promotion_run, "promote", lambda run, how: moved.append(how) or version)
    pushed = {"choose": {"run": "file:///run", "champion": None}, "gate": {"passed": True}}
    arguments = {
        "params": {"mode": mode},
        "run_id": "run",
        "ti": SimpleNamespace(xcom_pull=lambda task_ids: pushed.get(task_ids)),
        "outlet_events": defaultdict(SimpleNamespace),
    }
    promote = promotion.get_task("promote").python_callable
    if right:
        assert promote(**arguments)["champion"] == {"number": 2}
        assert moved == ["by mode automatic, run run"]
    else:
        with pytest.raises(AirflowFailException, match="There is no answer"):
            promote(**arguments)
        assert moved == []


@pytest.mark.parametrize(
    ("passed", "chosen", "ends"),
    [(False, None, "refused"), (True, "Reject", "rejected"), (True, "Approve", None), (True, None, None)],
)
def test_either_promote_or_refuse_does_something(promotion, monkeypatch, passed, chosen, ends):
    from airflow.sdk.exceptions import AirflowSkipException

    from ml.promotion import run as promotion_run

    monkeypatch.setattr(promotion_run, "promote", lambda run, how: SimpleNamespace(model_dump=lambda mode: {}))
    monkeypatch.setattr(promotion_run, "reject", lambda run, who: f"rejected by {who}")
    answer = {"chosen_options": [chosen], "responded_by_user": {"name": "ada"}} if chosen else None
    pushed = {
        "choose": {"run": "file:///run", "champion": None},
        "gate": {"passed": passed, "reasons": "Worse."},
        "approve": answer,
    }
    ti = SimpleNamespace(xcom_pull=lambda task_ids: pushed[task_ids])
    promote = promotion.get_task("promote").python_callable
    refuse = promotion.get_task("refuse").python_callable
    arguments = {"params": {"mode": "automatic"}, "run_id": "run", "outlet_events": defaultdict(SimpleNamespace)}
    if ends:
        reason = "Worse." if ends == "refused" else "rejected by ada"
        assert refuse(ti=ti) == {"decision": ends, "reason": reason}
        with pytest.raises(AirflowSkipException, match="see the task `refuse`"):
            promote(**arguments, ti=ti)
    else:
        assert promote(**arguments, ti=ti)
        with pytest.raises(AirflowSkipException, match="not refused"):
            refuse(ti=ti)


def test_candidates_that_came_after_the_event_that_triggered_are_looked_at_too(promotion, monkeypatch):
    """While a run waits for its answer, candidates accumulate; Airflow passes only the first to the next run."""
    from ml.promotion import run as promotion_run
    from open_images.assets import CANDIDATE

    asked = []
    event = lambda name, minute: SimpleNamespace(extra={"run": name}, timestamp=minute)  # noqa: E731

    class Events(list):
        def after(self, moment):
            return [each for each in self if each.timestamp >= moment]

    def open_promotion(root, run_id, values, deployment, events, roots):
        asked.extend(event["run"] for event in events)
        return SimpleNamespace(model_dump=lambda mode: {})

    monkeypatch.setattr(promotion_run, "open_promotion", open_promotion)
    task = promotion.get_task("choose")
    every = Events([event("decided", 1), event("b", 2), event("c", 3)])
    assert task.inlets == [CANDIDATE]
    arguments = {"params": {"move_back": False}, "run_id": "run", "inlet_events": {CANDIDATE: every}}
    task.python_callable(**arguments, triggering_asset_events={CANDIDATE: [event("b", 2)]})
    assert asked == ["b", "c"]
    task.python_callable(**arguments, triggering_asset_events={})
    assert asked == ["b", "c"], "by hand: none"


@pytest.mark.parametrize(("status", "advice"), [(500, "delete it"), (503, "log of Airflow's API server")])
def test_events_that_airflow_cannot_list_fail_with_what_to_do(promotion, status, advice):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    from open_images.assets import CANDIDATE

    class Events(list):
        def after(self, moment):
            return self

        def __iter__(self):
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status}))

    with pytest.raises(AirflowException, match=f"open_images_candidate .*{status}.*{advice}") as failure:
        promotion.get_task("choose").python_callable(
            {"move_back": False},
            "run",
            {CANDIDATE: [SimpleNamespace(timestamp=1)]},
            {CANDIDATE: Events()},
        )
    assert not isinstance(failure.value, AirflowFailException), "a retry helps once the run has started"


def test_a_comparison_without_a_champion_is_skipped_before_it_starts(promotion):
    from airflow.sdk.exceptions import AirflowSkipException

    hook = promotion.get_task("compare")._pre_execute_hook
    with pytest.raises(AirflowSkipException, match="no champion"):
        hook({"ti": SimpleNamespace(xcom_pull=lambda task_ids: {"compares": False})})
    hook({"ti": SimpleNamespace(xcom_pull=lambda task_ids: {"compares": True})})


def test_the_event_of_an_evaluation_found_done_tells_all_that_a_promotion_asks(tmp_path):
    from airflow.sdk.api.datamodels._generated import DagRunType  # what a task's context has
    from airflow.sdk.execution_time.context import OutletEventAccessors

    from ml.promotion.candidates import candidate_of
    from ml.promotion.run import BACKFILL
    from open_images.assets import CANDIDATE
    from open_images.operators.process import ProcessStageOperator
    from support.promotions import make_candidate

    made = make_candidate(tmp_path, "run", "2026-01-01T00:00:00+00:00")
    task = ProcessStageOperator(
        task_id="evaluate", stage="evaluate", run=made.run.uri, outlets=[CANDIDATE], event_metrics=("faces", "accuracy")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowRun, "find_or_adopt", lambda run, stage: made.evaluated)
        patch.setattr(FlowRun, "key", lambda run, stage: made.evaluated.key)  # its inputs are not there
        events = OutletEventAccessors()
        pushed = task.execute({"outlet_events": events, "dag_run": SimpleNamespace(run_type=DagRunType.BACKFILL)})
    assert pushed["found_done"]
    extra = json.loads(json.dumps(events[CANDIDATE].extra))
    assert extra["metrics"] == {"faces": 120, "accuracy": made.evaluated.metrics["accuracy"]}
    assert (extra["stage"], extra["run_id"]) == ("evaluate", "run")
    assert extra["run_type"] == BACKFILL, "by which a promotion knows that nobody is to be asked"
    assert extra["as_of"] == made.as_of
    assert extra["inputs"]["train"] == made.trained.uri
    assert extra["keys"] == {"evaluate": "evaluate-run", "train": "train-run", "featurize": "0f"}
    assert candidate_of(extra["run"], extra["attempt"]) == made


# --- the comparison DAG


def test_a_comparison_opens_a_run_and_compares(airflow_home):
    from open_images_comparison import dag

    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "open_comparison": ["compare"],
        "compare": [],
    }
    assert dag.is_paused_upon_creation is False, "the page 'Models' starts it"
    assert set(dag.params) == {"model", "baseline"}
    assert "perceived by annotators" in dag.doc_md


# --- what a task says of its failure


@pytest.fixture
def pushed(monkeypatch):
    """What the current task pushes to XCom, by key."""
    from open_images import errors

    found = {}
    monkeypatch.setattr(errors, "get_current_context", lambda: {"ti": SimpleNamespace(xcom_push=found.__setitem__)})
    return found


def test_a_task_that_fails_says_why_for_the_pages(pushed):
    from airflow.sdk.exceptions import AirflowFailException

    from open_images.errors import airflow_errors

    with pytest.raises(AirflowFailException, match=r"^data: Half of it is missing\. Download it\.$"), airflow_errors():
        raise DataError("Half of it is missing.", "Download it.")
    assert pushed == {"failure": {"kind": "data", "message": "Half of it is missing.", "advice": "Download it."}}


def test_what_a_task_says_of_its_failure_holds_no_secret(pushed, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    from open_images.errors import airflow_errors

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    with pytest.raises(AirflowFailException), airflow_errors():
        raise DataError("PUT https://key:word@store/x with hunter2hunter2 was refused.")
    assert pushed["failure"]["message"] == "PUT https://***@store/x with *** was refused."


def test_a_task_that_is_skipped_says_why_for_the_pages(pushed):
    from airflow.sdk.exceptions import AirflowSkipException

    from ml.errors import NothingNewError
    from open_images.errors import airflow_errors

    with pytest.raises(AirflowSkipException, match="No delivery is dated in it"), airflow_errors():
        raise NothingNewError("No delivery is dated in it.")
    assert pushed == {"reason": "No delivery is dated in it."}


def test_a_job_that_fails_says_why_for_the_pages(operator, submitted, pushed):
    from airflow.sdk.exceptions import AirflowFailException

    submitted(break_with(operator, DataError("what is wrong", "what to do")))
    with pytest.raises(AirflowFailException):
        operator.task.execute({})
    assert pushed["failure"] == {"kind": "data", "message": "what is wrong", "advice": "what to do"}


# --- the operators around a job


@pytest.fixture
def operator(opened):
    from open_images.operators.spark import SparkStageOperator

    run = opened()
    task = SparkStageOperator(task_id="extract", stage="extract", run=run.uri)
    return SimpleNamespace(run=run, task=task)


@pytest.fixture
def submitted(monkeypatch):
    """Replace spark-submit by a function that gets the job's arguments; the connection exists."""
    from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

    calls = []

    def set_job(job):
        def execute(self, context):
            calls.append(self)
            job(dict(zip(self.application_args[::2], self.application_args[1::2], strict=True)))

        monkeypatch.setattr(SparkSubmitOperator, "execute", execute)
        return calls

    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps({"conn_type": "spark", "host": "local[1]"}))
    return set_job


def commit(operator):
    def job(arguments):
        run_stage(
            operator.run,
            STAGES["extract"],
            lambda c: Result(Stated(rows=3), {"kept": 2}),
            attempt=arguments["--attempt"],
        )

    return job


def break_with(operator, error):
    def job(arguments):
        from airflow.sdk.exceptions import AirflowException

        def body(context):
            raise error

        try:
            run_stage(operator.run, STAGES["extract"], body, attempt=arguments["--attempt"])
        except Exception:
            raise AirflowException("Error code is: 1.") from None

    return job


def test_a_job_done_is_the_tasks_xcom_and_the_next_run_submits_nothing(operator, submitted):
    calls = submitted(commit(operator))
    pushed = operator.task.execute({})
    assert pushed["rows"] == 3
    assert pushed["ledger"] == {"kept": 2}
    assert pushed["stage"] == "extract"
    assert not pushed["found_done"]
    assert storage.exists(storage.join(pushed["attempt"], "manifest.json"))
    again = operator.task.execute({})
    assert again == {**pushed, "found_done": True}
    assert len(calls) == 1


def test_a_retry_starts_its_own_job_and_what_the_provider_refuses_is_not_tried_again(operator, submitted):
    from airflow.sdk.exceptions import AirflowFailException

    def refuse(arguments):
        raise ValueError("YARN cluster mode ...")

    assert not operator.task.durable, "a job of the try before writes another attempt"
    submitted(refuse)
    with pytest.raises(AirflowFailException, match="configuration: YARN"):
        operator.task.execute({})


@pytest.mark.parametrize(("kind", "retried"), [("data", False), ("configuration", False), ("passing", True)])
def test_error_json_decides_whether_a_failure_is_retried(operator, submitted, kind, retried):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from ml import errors

    error = {"data": errors.DataError, "configuration": errors.ConfigurationError, "passing": errors.TransientError}[
        kind
    ]
    submitted(break_with(operator, error("what is wrong", "what to do")))
    with pytest.raises(AirflowException, match=f"{kind}: what is wrong what to do") as failed:
        operator.task.execute({})
    assert isinstance(failed.value, AirflowFailException) is not retried


def test_a_job_that_left_no_error_json_is_retried(operator, submitted):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    def job(arguments):
        raise AirflowException("Error code is: 137.")

    submitted(job)
    with pytest.raises(AirflowException, match=r"no error\.json") as failed:
        operator.task.execute({})
    assert not isinstance(failed.value, AirflowFailException)


def test_the_class_data_archive_is_for_spark_submit_here_and_for_no_container(
    operator, submitted, monkeypatch, tmp_path
):
    from ml import class_data

    archive = tmp_path / "archive.jsa"
    archive.touch()
    monkeypatch.setattr(class_data, "archive_path", lambda java: archive)
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Dof.the.user=1")
    monkeypatch.setenv("SPARK_LAUNCHER_OPTS", "")
    calls = submitted(commit(operator))
    operator.task.execute({})
    options = os.environ["SPARK_SUBMIT_OPTS"]
    assert f"-XX:SharedArchiveFile={archive}" in options
    assert options.endswith("-Dof.the.user=1")
    assert not calls[0].env_vars


def test_a_missing_spark_submit_is_named(operator, submitted, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    def job(arguments):
        raise FileNotFoundError(2, "No such file or directory", "spark-submit")

    submitted(job)
    with pytest.raises(AirflowFailException, match="configuration: spark-submit was not found"):
        operator.task.execute({})


def test_a_missing_connection_is_named(operator, monkeypatch):
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

    def missing(conn_id):
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", missing)
    with pytest.raises(AirflowFailException, match="The connection 'spark_default' does not exist"):
        operator.task.execute({})


@pytest.mark.parametrize(("version", "told"), [(None, "JAVA_HOME"), ("1.8.0_292", "17")])
def test_a_wrong_java_is_refused_before_anything_is_submitted(
    operator, submitted, monkeypatch, tmp_path, version, told
):
    from airflow.sdk.exceptions import AirflowFailException

    calls = submitted(commit(operator))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    if version:
        java = tmp_path / "java" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
    with pytest.raises(AirflowFailException, match=told):
        operator.task.execute({})
    assert calls == []


def test_an_operator_that_runs_a_stage_elsewhere_is_one_class_with_one_method(opened):
    from airflow.sdk.exceptions import AirflowFailException

    from open_images.operators.stage import JobFailedError, StageOperator

    class Elsewhere(StageOperator):
        broken = True

        def run_job(self, context, attempt):
            def body(context):
                if self.broken:
                    raise DataError("bad", "mend it")
                return Result(Stated(rows=3), {"kept": 2})

            try:
                run_stage(load_run(self.run), STAGES[self.stage], body, attempt)
            except DataError:
                raise JobFailedError("The pod failed.") from None

    task = Elsewhere(task_id="extract", stage="extract", run=opened().uri)
    with pytest.raises(AirflowFailException, match="data: bad mend it"):
        task.execute({})
    Elsewhere.broken = False
    assert task.execute({})["rows"] == 3
    assert task.execute({})["found_done"] is True


def test_a_job_that_waited_and_found_the_work_done_is_a_success(opened):
    from open_images.operators.stage import StageOperator

    run, other = opened("run"), opened("other")

    class Waits(StageOperator):
        def run_job(self, context, attempt):
            run_stage(other, STAGES[self.stage], lambda context: Result(Stated(rows=3), {"kept": 2}))

    pushed = Waits(task_id="extract", stage="extract", run=run.uri).execute({})
    assert pushed["attempt"] == other.pinned("extract").uri
    assert (pushed["rows"], pushed["found_done"]) == (3, True)
