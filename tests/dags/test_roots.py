"""The tasks that open a run confine its parameters to the deployment's roots."""

import datetime
import importlib
from types import SimpleNamespace

import pytest

from ml.config.comparison import ModelsConfig
from ml.config.deployment import Deployment

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
RUN = SimpleNamespace(run_type="manual", run_after=NOW, data_interval_start=NOW, data_interval_end=NOW)
DEFAULTS = Deployment()
TASKS = [
    ("open_images_training", "open_run", DEFAULTS.defaults, "release", {"run_id": "r", "dag_run": RUN}),
    ("open_images_prediction", "open_prediction", DEFAULTS.prediction, "photographs", {"run_id": "r"}),
    (
        "open_images_promotion",
        "choose",
        DEFAULTS.promotion,
        "candidate",
        {"run_id": "r", "triggering_asset_events": {}, "inlet_events": {}},
    ),
    ("open_images_comparison", "open_comparison", ModelsConfig(), "baseline", {"run_id": "r"}),
    ("open_images_ingest", "download", DEFAULTS.download, "photographs_url", {"dag_run": RUN}),
]


@pytest.mark.parametrize("place", ["s3://elsewhere/x", "http://169.254.169.254/latest", "http://localhost:8080"])
@pytest.mark.parametrize(("module", "task", "defaults", "parameter", "context"), TASKS, ids=[each[0] for each in TASKS])
def test_a_place_outside_the_roots_fails_the_task_for_good(module, task, defaults, parameter, context, place):
    from airflow.sdk.exceptions import AirflowFailException

    function = importlib.import_module(module).dag.get_task(task).python_callable
    params = {**defaults.model_dump(mode="json"), parameter: place}
    with pytest.raises(AirflowFailException, match=f"configuration: {parameter} = '{place}': not below a root"):
        function(params=params, **context)
