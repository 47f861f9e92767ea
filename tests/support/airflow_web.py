"""Helpers for tests of the web routes: an Airflow database, its auth manager around the routes, and written runs."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.flow.table import STAGES
from ml.workflow.manifest import File, Manifest
from ml.workflow.run import slug

TRAINING, OTHER, PROMOTION = "open_images_training", "open_images_prediction", "open_images_promotion"
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
SHARE = {"value": 0.9, "low": 0.8, "high": 0.95, "count": 40, "images": 30}
EVALUATION = {
    "faces": 40,
    "images": 30,
    "accuracy": SHARE,
    "majority": {**SHARE, "label": "male", "value": 0.5},
    "beats_majority": True,
    "by_label": {"female": {"recall": SHARE}, "male": {"recall": SHARE}},
    "worst_slice": None,
    "report": "file:///somewhere/report.html",
}
LEDGER = {"labelled": 80, "two labels": 20}


@contextmanager
def airflow_database(folder: Path, **settings: str) -> Iterator[None]:
    """Make an empty Airflow database, with settings given as `section__name`."""
    variables = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of these tests alone, and long enough for the digest that signs with it",
        **{f"AIRFLOW__{name.upper()}": value for name, value in settings.items()},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        from airflow import settings as airflow_settings
        from airflow.models.base import Base
        from airflow.utils.db import import_all_models

        import_all_models()
        _connect()
        Base.metadata.create_all(airflow_settings.engine)
        yield
    _connect()  # to the previous database


def _connect() -> None:
    from airflow import settings

    settings.dispose_orm(do_log=False)
    settings.configure_vars()
    settings.configure_orm()


def add_run(run_id: str, dag_id: str = TRAINING, state: str = "success", **tasks: str) -> None:
    """Add a run to Airflow's database, with its tasks' states."""
    from airflow.models import DagRun
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import insert

    with create_session() as session:
        session.merge(DagBundleModel(name="dags"))
        session.flush()
        session.merge(DagModel(dag_id=dag_id, bundle_name="dags"))
        session.flush()
        session.add(DagRun(dag_id=dag_id, run_id=run_id, run_type="manual", run_after=NOON, state=state))
        session.flush()
        for number, (task, task_state) in enumerate(tasks.items()):
            row = {
                "task_id": task.replace("__", "."),
                "dag_id": dag_id,
                "run_id": run_id,
                "state": task_state,
                "start_date": NOON + datetime.timedelta(minutes=number),
                "pool": "default_pool",
                "pool_slots": 1,
                "try_number": 1,
            }
            session.execute(insert(TaskInstance).values(row))


def commit(root: str, stage: str, files: Mapping[str, bytes], attempt: str = "first", **content: Any) -> Manifest:
    """Commit an attempt of a stage."""
    uri = storage.join(storage.normalize(root), "stages", stage, "0a", "attempts", attempt)
    for path, data in files.items():
        storage.write_bytes(storage.join(uri, path), data)
    manifest = Manifest(
        **{"stage": stage, "version": 1, "key": "0a", "attempt": attempt, "uri": uri, "config": {}, "inputs": {}},
        **{"sources": {}, "versions": {}, "metrics": content.get("metrics", {}), "ledger": content.get("ledger", {})},
        files=content.get("named", [File(path=path, bytes=len(data)) for path, data in files.items()]),
        started="2026-01-02T12:00:00+00:00",
        finished="2026-01-02T12:03:00+00:00",
    )
    storage.write_bytes(storage.join(uri, "manifest.json"), manifest.model_dump_json().encode())
    return manifest


def write_run(
    root: str, run_id: str, manifests: list[Manifest], flow: str = "training", name: str = "", **content: Any
) -> str:
    """Write a run folder that pins attempts, and return its URI."""
    uri = storage.join(storage.normalize(root), "runs", name or slug(run_id))
    run = {"run_id": run_id, "flow": flow, "config": TrainingConfig().model_dump(mode="json"), "sources": {}}
    storage.write_json(storage.join(uri, "run.json"), {**run, **content})
    for manifest in manifests:
        storage.write_json(storage.join(uri, "pins", f"{manifest.stage}.json"), {"attempt": manifest.uri})
    return uri


def whole_run(root: str) -> list[Manifest]:
    """Commit attempts of all stages that a report needs."""
    contents: dict[str, dict[str, Any]] = {
        "explore": {"files": {"contact_sheet.png": b"png", "explore.html": b"<html>data</html>"}},
        "join_labels": {"files": {}, "ledger": LEDGER},
        "chip": {"files": {}, "ledger": {"chipped": 80}},
        "featurize": {"files": {}, "metrics": {"faces": {"train": {"female": 20, "male": 20}}}},
        "train": {"files": {"model.keras": b"weights", "curves.png": b"png"}},
        "evaluate": {
            "files": {"report.html": b"<html>whole</html>", "model_card.md": b"# Card", "roc.png": b"png"},
            "metrics": EVALUATION,
        },
    }
    return [commit(root, stage, **contents[stage]) for stage in STAGES if stage in contents]


def ask(app: Any, path: str, token: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Request a path from an ASGI app exactly as written, which HTTP clients would normalize.

    Returns:
        Status, headers and body.
    """
    sent = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    if token:
        sent.append((b"authorization", f"Bearer {token}".encode()))
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"},
        **{"path": unquote(path), "raw_path": quote(path, safe="%/\\").encode(), "query_string": b"", "headers": sent},
        **{"server": ("test", 80), "client": ("test", 1), "root_path": "", "state": {}},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0 if not sent else 3600)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    try:
        asyncio.run(app(scope, receive, send))
    except Exception:  # which Starlette raises once more for the server's log, after it has answered
        if not sent:
            raise
    (start,) = (message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body
