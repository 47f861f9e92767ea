"""Notifications that a run succeeded or failed, configured by the deployment's setting `notify`.

Airflow calls a DAG's callbacks in the DAG processor, apart from the run: an error here appears in the DAG processor's
log and does not change the run.
"""

from __future__ import annotations

import importlib
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

Setting = str | dict[str, dict[str, Any]] | None
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
    """Posts JSON when a run ends: dag, run, state, task, url, message, and `text`, which chat services show.

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
        """Return the JSON to post. `task` is the one that failed last, or None."""
        dag, run = context["dag"].dag_id, context["run_id"]
        ti = context.get("ti")  # missing if Airflow itself ended the run
        task = ti.task_id if ti is not None and self.state == "failed" else None
        message = f"{dag}: run {run} {'succeeded' if self.state == 'success' else 'failed'}"
        if self.state == "failed":
            message += f" at task {task}" if task else f" ({context.get('reason')})"
        base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
        url = f"{base}/dags/{dag}/runs/{quote(run, safe='')}"
        fields = {"dag": dag, "run": run, "state": self.state, "task": task, "url": url, "message": message}
        return {**fields, "text": f"{message}: {url}"}


def _url(connection: Connection) -> str:
    host = connection.host or ""
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    if connection.port:
        url = f"{url}:{connection.port}"
    return f"{url.rstrip('/')}/{connection.password}" if connection.password else url
