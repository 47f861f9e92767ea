"""Settings that all DAGs of the project share: owner, retries, timeouts and notifications."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Any

from airflow.sdk import Param

from ml.config.deployment import Deployment
from ml.config.forms import form_fields
from ml.config.parameter import FlowConfig
from open_images.notify import callbacks


def dag_defaults(deployment: Deployment, notify_success: bool = True) -> dict[str, Any]:
    """Return the arguments for every `DAG`.

    Tasks are retried twice, with growing delays. Errors that a retry cannot fix fail at once: see
    `errors.airflow_errors`. One hour is enough for tasks that are not stages; the operators of stages use the
    deployment's `timeouts`.

    Args:
        deployment: The deployment's settings.
        notify_success: Whether to notify about successful runs too; off for a DAG that runs all day.
    """
    by_event = callbacks(deployment.notify)
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
        **{name: calls for name, calls in by_event.items() if notify_success or name != "on_success_callback"},
    }


def form(defaults: FlowConfig, networks: Collection[str] = ()) -> dict[str, Param]:
    """Return the trigger form of a flow: a field for each parameter, with the deployment's default.

    Args:
        defaults: The defaults of the flow.
        networks: Networks of users' own that the deployment allows, besides those that the field lists.
    """
    fields = form_fields(defaults)
    if "network" in fields:
        field = fields["network"]
        field["enum"] = list(dict.fromkeys([*field["enum"], *networks, field["default"]]))
    return {name: Param(field.pop("default"), **field) for name, field in fields.items()}
