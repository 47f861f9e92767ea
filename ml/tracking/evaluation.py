"""Add an evaluation to the MLflow run of the training that it evaluates."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml.tracking import experiments
from ml.tracking.training_run import _log_files, _log_metrics, _points, flatten

if TYPE_CHECKING:
    from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)


def log_evaluation(trained: Manifest, attempt: str, metrics: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Record an evaluation in the MLflow run of the model that it measured, over what an earlier one recorded there.

    What cannot be recorded is a warning: the evaluation itself is in its attempt.

    Args:
        trained: The manifest of the training.
        attempt: URI of the evaluation's attempt.
        metrics: Its metrics, which are flattened to names below `test/`.
        files: Content by path, such as plots and the report; they go below `evaluation/`.
    """
    told = trained.metrics["mlflow"]
    try:
        client = experiments.connect(told["tracking_uri"])
        points = _points({f"test/{name}": value for name, value in flatten(metrics).items()})
        _log_metrics(client, told["run_id"], points, told["model_id"])
        _log_files(client, told["run_id"], {f"evaluation/{path}": content for path, content in files.items()})
        client.set_tag(told["run_id"], "evaluation", attempt)
    except Exception as error:  # whatever it is, it is no reason to lose an evaluation
        log.warning("MLflow did not take the evaluation of run %s: %s", told["run_id"], str(error).strip()[:500])
