"""The routes: data of one run, its artifacts, the history of all runs, the registered models, and the pages' code.

Airflow does not require a login for a plugin's routes, so each route states who may use it. A run's data and artifacts
require permission to see runs of its DAG; routes about all runs require permission to see runs of the training DAG.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import DagAccessEntity, requires_access_dag, requires_authenticated
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import ASGIApp

from ml.config.deployment import load_deployment
from ml.errors import StageError
from open_images.object_store import use_object_store
from open_images.web.airflow_runs import PROMOTION, TRAINING, AirflowRun, find_airflow_run, list_airflow_runs
from open_images.web.artifacts import LARGEST, find_artifact
from open_images.web.folders import RunFolder, find_run
from open_images.web.history import history
from open_images.web.models import registered_models
from open_images.web.report import report
from open_images.web.security import REPORT, SecurityHeaders

log = logging.getLogger(__name__)
STATIC = {file.name: file for file in (Path(__file__).parent / "static").iterdir()}
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
OF_ITS_DAG = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
OF_TRAINING = Depends(requires_access_dag("GET", DagAccessEntity.RUN, TRAINING))
FLOWS = {TRAINING: "training", PROMOTION: "promotion"}  # DAGs whose files the routes serve


def create_app() -> ASGIApp:
    """Create the routes, with security headers on every response."""
    # No OpenAPI pages: they would be open without a login.
    app = FastAPI(openapi_url=None, dependencies=[Depends(requires_authenticated()), Depends(use_object_store)])
    app.add_exception_handler(StageError, _unreadable)
    app.add_exception_handler(OSError, _unreadable)
    app.add_exception_handler(Exception, _unreadable)  # some object stores' libraries do not raise OSError
    app.get("/static/{name}")(read_static)
    app.get("/runs/{dag_id}/{run_id}", dependencies=[OF_ITS_DAG])(read_run)
    app.get("/runs/{dag_id}/{run_id}/files/{stage}/{path:path}", dependencies=[OF_ITS_DAG])(read_file)
    app.get("/history", dependencies=[OF_TRAINING])(read_history)
    app.get("/models", dependencies=[OF_TRAINING])(read_models)
    return SecurityHeaders(app)


def read_static(name: str) -> FileResponse:
    """Return a file of the pages' code."""
    if name not in STATIC:
        raise _not_found()
    return FileResponse(STATIC[name], media_type=MEDIA_TYPES.get(STATIC[name].suffix))


def read_run(dag_id: str, run_id: str, session: SessionDep) -> dict[str, Any]:
    """Return the data of a run's report; works as soon as the run exists."""
    if dag_id != TRAINING:
        raise _not_found()
    return report(_airflow_run(dag_id, run_id, session), _folder(dag_id, run_id))


def read_file(
    dag_id: str,
    run_id: str,
    stage: str,
    path: str,
    session: SessionDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a file of the attempt that a run pins for a stage."""
    _airflow_run(dag_id, run_id, session)
    folder = _folder(dag_id, run_id)
    manifest = folder.manifest(stage) if folder else None
    artifact = find_artifact(folder.root, manifest, path) if folder and manifest else None
    if artifact is None:
        raise _not_found()
    headers = {"ETag": artifact.etag}
    if if_none_match == artifact.etag:
        return Response(status_code=304, headers=headers)
    if artifact.bytes > LARGEST:
        raise HTTPException(
            413,
            f"The file has {artifact.bytes >> 20:,} MB, more than the limit of {LARGEST >> 20} MB: "
            "read it from the storage.",
        )
    headers["Content-Length"] = str(artifact.bytes)
    if artifact.media_type.startswith(("text/html", "image/svg")):  # both hold styles, and could hold scripts
        headers["Content-Security-Policy"] = REPORT
    if not artifact.shown:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
    return StreamingResponse(artifact.read(), headers=headers, media_type=artifact.media_type)


def read_history(session: SessionDep) -> dict[str, Any]:
    """Return all runs of the training flow, oldest first."""
    return {"runs": history(load_deployment().storage, list_airflow_runs(session))}


def read_models(session: SessionDep) -> dict[str, Any]:
    """Return the champion and the candidates from the registry."""
    return registered_models(load_deployment(), lambda run_id: find_airflow_run(session, PROMOTION, run_id) is not None)


def _airflow_run(dag_id: str, run_id: str, session: SessionDep) -> AirflowRun:
    """Return the run as Airflow knows it; it must belong to a DAG that writes reports."""
    run = find_airflow_run(session, dag_id, run_id) if dag_id in FLOWS else None
    if run is None:
        raise _not_found()
    return run


def _folder(dag_id: str, run_id: str) -> RunFolder | None:
    return find_run(load_deployment().storage, run_id, FLOWS[dag_id])


def _not_found() -> HTTPException:
    return HTTPException(404, "The run or file does not exist.")


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """Log the error, and hide its details from the browser."""
    log.error("%s: %s", request.url.path, error, exc_info=error)
    return JSONResponse({"detail": "The storage cannot be read; see the API server's log."}, 503)
