"""What all DAGs of the project share: whose they are, retries, timeouts, and whom to tell of a run's end."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import Param

from ml.config.deployment import Deployment
from ml.config.forms import form_fields
from ml.config.parameter import FlowConfig
from open_images.notify import callbacks


def dag_defaults(deployment: Deployment, tell_success: bool = True) -> dict[str, Any]:
    """Arguments for every `DAG`.

    Tasks are retried twice, later each time. What cannot pass by itself fails at once: see `errors.airflow_errors`. An
    hour is enough for what is no stage; the stages' operators have the deployment's `timeouts`.

    Args:
        deployment: The deployment's settings.
        tell_success: Whether to notify also of runs that succeed, which nobody wants of a DAG that runs all day.
    """
    telling = callbacks(deployment.notify)
    return {
        "catchup": False,
        "default_args": {
            "owner": "machine-learning",
            "retries": 2,
            "retry_delay": datetime.timedelta(seconds=30),
            "retry_exponential_backoff": 4.0,
            "max_retry_delay": datetime.timedelta(minutes=10),
            "execution_timeout": datetime.timedelta(hours=1),
        },
        **{name: told for name, told in telling.items() if tell_success or name != "on_success_callback"},
    }


def form(defaults: FlowConfig) -> dict[str, Param]:
    """The trigger form of a flow: a field for each parameter, with the deployment's default."""
    return {name: Param(field.pop("default"), **field) for name, field in form_fields(defaults).items()}
