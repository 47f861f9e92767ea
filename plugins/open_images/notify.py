"""Notifications that a run succeeded or failed, configured by the deployment's setting `notify`.

Airflow calls a DAG's callbacks in the DAG processor, apart from the run: an error here appears in the DAG processor's
log and does not change the run.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

log = logging.getLogger(__name__)
Setting = str | dict[str, dict[str, Any]] | None
TRAINING = "open_images_training"
SECONDS = 10.0  # meanwhile the DAG processor does not parse this file


def callbacks(setting: Setting) -> dict[str, list[Callable[[Context], None]]]:
    """Return the callbacks of a DAG, as keyword arguments.

    Args:
        setting: `notify` of the deployment. Either the id of an Airflow connection or an http(s) address to post JSON
            to, or dotted paths of Airflow notifiers with their arguments.
    """
    if setting is None:
        return {}
    if isinstance(setting, str):
        failed, succeeded = ([WebhookNotifier(setting, state)] for state in ("failed", "success"))
        return {"on_failure_callback": failed, "on_success_callback": succeeded}
    both = [partial(_notify, path, arguments) for path, arguments in setting.items()]
    return {"on_failure_callback": both, "on_success_callback": both}


def _notify(path: str, arguments: dict[str, Any], context: Context) -> None:
    """Call an Airflow notifier; import its module only here, so that DAG files parse without it."""
    module, _, name = path.rpartition(".")
    getattr(importlib.import_module(module), name)(**arguments)(context)


class WebhookNotifier(BaseNotifier):
    """Posts JSON when a run ends: dag, run, state, task, url, message, drift, and `text`, which chat services show.

    Args:
        target: An http(s) address, or the id of a connection whose host is the address. If the connection has a
            password, it becomes the secret last part of the path.
        state: How the run ended: `success` or `failed`.
    """

    def __init__(self, target: str, state: str) -> None:
        super().__init__()
        self.target = target
        self.state = state

    def notify(self, context: Context) -> None:
        """Post the notification.

        Raises:
            AirflowException: The post failed. The message leaves out the path of the address, which may be secret.
        """
        import httpx

        target = self.target
        url = target if target.startswith(("http://", "https://")) else _url(BaseHook.get_connection(target))
        try:
            httpx.post(url, json=self.payload(context), timeout=SECONDS, follow_redirects=True).raise_for_status()
        except httpx.HTTPStatusError as error:
            reason = f"status {error.response.status_code}"
        except httpx.HTTPError as error:
            reason = type(error).__name__
        else:
            return
        host = httpx.URL(url).host
        raise AirflowException(f"The notification to {host} failed: {reason}. Check `notify` of the deployment.")

    def payload(self, context: Context) -> dict[str, str | None]:
        """Return the JSON to post.

        `task` is the one that failed last, and `drift` a line about the data of a training; either may be None.
        """
        dag, run = context["dag"].dag_id, context["run_id"]
        ti = context.get("ti")  # missing if Airflow itself ended the run
        task = ti.task_id if ti is not None and self.state == "failed" else None
        message = f"{dag}: run {run} {'succeeded' if self.state == 'success' else 'failed'}"
        if self.state == "failed":
            message += f" at task {task}" if task else f" ({context.get('reason')})"
        base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
        url = f"{base}/dags/{dag}/runs/{quote(run, safe='')}"
        drift = drift_of(run) if dag == TRAINING and self.state == "success" else None
        fields = {"dag": dag, "run": run, "state": self.state, "task": task, "url": url, "message": message}
        text = f"{message}: {url}" + (f"\n{drift}" if drift else "")
        return {**fields, "drift": drift, "text": text}


def drift_of(run_id: str) -> str | None:
    """Return what the evaluation of a training run says about drift; None if it says nothing or cannot be read."""
    from ml.config.deployment import load_deployment
    from ml.workflow import layout
    from ml.workflow.folder import read_pin
    from ml.workflow.manifest import load_manifest
    from ml.workflow.run import slug

    try:
        run = layout.run_uri(load_deployment().storage, slug(run_id))
        pin = read_pin(layout.pin_uri(run, "evaluate"))
        found = load_manifest(pin.attempt).metrics.get("drift") if pin else None
    except Exception:  # the notification matters more than this line
        log.exception("The drift of run %s cannot be read.", run_id)
        return None
    return str(found["line"]) if found else None


def _url(connection: Connection) -> str:
    host = connection.host or ""
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    if connection.port:
        url = f"{url}:{connection.port}"
    return f"{url.rstrip('/')}/{connection.password}" if connection.password else url
