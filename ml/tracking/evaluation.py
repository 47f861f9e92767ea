"""Record an evaluation in the MLflow run of the training that it evaluates."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pydantic import JsonValue

from ml.model.record import MlflowRun
from ml.tracking import experiments
from ml.tracking.recording import log_files, log_metrics, points_of

log = logging.getLogger(__name__)


def log_evaluation(
    training: MlflowRun, attempt: str, metrics: Mapping[str, JsonValue], files: Mapping[str, bytes]
) -> None:
    """Record an evaluation in the MLflow run of the model that it measured, replacing an earlier evaluation there.

    An error is only a warning in the log, because the evaluation itself is in its attempt.

    Args:
        training: The MLflow run of the training.
        attempt: URI of the evaluation's attempt.
        metrics: Its metrics, flattened to names under `test/`.
        files: Content by path, such as plots and the report; stored under `evaluation/`.
    """
    run_id = training.run_id
    try:
        client = experiments.connect(training.tracking_uri)
        log_metrics(client, run_id, points_of(metrics, "test/"), training.model_id)
        log_files(client, run_id, {f"evaluation/{path}": content for path, content in files.items()})
        client.set_tag(run_id, "evaluation", attempt)
    except Exception as error:  # no error of MLflow may lose an evaluation
        log.warning("MLflow could not record the evaluation of run %s: %s", run_id, str(error).strip()[:500])
