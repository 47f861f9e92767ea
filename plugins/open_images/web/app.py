"""The routes: data of one run, its artifacts and tables, the history of all runs, the registered models, 'Try it'.

Airflow does not require a login for a plugin's routes, so each route states who may use it. A run's data and artifacts
require permission to see runs of its DAG; routes about all runs require permission to see runs of the training DAG;
answers to single photographs, which are predictions, require permission to see runs of the prediction DAG.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import quote

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import DagAccessEntity, requires_access_dag, requires_authenticated
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi import Query as QueryParameter
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import ASGIApp

from ml.config.deployment import load_deployment
from ml.errors import StageError
from ml.workflow.manifest import Manifest
from open_images.object_store import use_object_store
from open_images.web import photograph
from open_images.web.airflow_runs import (
    COMPARISON,
    FLOWS,
    PREDICTION,
    PROMOTION,
    TRAINING,
    AirflowRun,
    find_airflow_run,
    list_airflow_runs,
)
from open_images.web.answers import MEDIA_TYPES as TABLE_TYPES
from open_images.web.answers import SORTED, Format, Order, Query, Table, TooManyRowsError, download, find_rows
from open_images.web.artifacts import LARGEST, find_artifact
from open_images.web.folders import RunFolder, find_run
from open_images.web.history import history
from open_images.web.models import registered_models
from open_images.web.prediction_report import prediction_report
from open_images.web.promotion_report import comparison_report, promotion_report
from open_images.web.report import report
from open_images.web.security import REPORT, SecurityHeaders
from open_images.web.try_it import introduction

log = logging.getLogger(__name__)
STATIC = {file.name: file for file in (Path(__file__).parent / "static").iterdir()}
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
OF_ITS_DAG = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
OF_TRAINING = Depends(requires_access_dag("GET", DagAccessEntity.RUN, TRAINING))
OF_PREDICTION = Depends(requires_access_dag("GET", DagAccessEntity.RUN, PREDICTION))
MANY_ROWS = 2**40


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
    app.get("/runs/{dag_id}/{run_id}/tables/{table}", dependencies=[OF_ITS_DAG])(read_rows)
    app.get("/runs/{dag_id}/{run_id}/tables/{table}/{kind}", dependencies=[OF_ITS_DAG])(read_table)
    app.get("/history", dependencies=[OF_TRAINING])(read_history)
    app.get("/models", dependencies=[OF_TRAINING])(read_models)
    app.get("/try", dependencies=[OF_PREDICTION])(read_introduction)
    app.post("/try", dependencies=[OF_PREDICTION], openapi_extra=photograph.BODY)(photograph.explain)
    return SecurityHeaders(app)


def read_static(name: str) -> FileResponse:
    """Return a file of the pages' code."""
    if name not in STATIC:
        raise _not_found()
    return FileResponse(STATIC[name], media_type=MEDIA_TYPES.get(STATIC[name].suffix))


def read_run(dag_id: str, run_id: str, session: SessionDep) -> dict[str, Any]:
    """Return the data of a run's report; works as soon as the run exists."""
    run, folder = _airflow_run(dag_id, run_id, session), _folder(dag_id, run_id)
    if dag_id == PROMOTION:
        return promotion_report(run, folder, lambda name: find_airflow_run(session, TRAINING, name) is not None)
    if dag_id == PREDICTION:
        return prediction_report(run, folder, load_deployment().defaults)
    if dag_id == COMPARISON:
        return comparison_report(run, folder)
    return report(run, folder)


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
    _check_size(artifact.bytes)
    headers["Content-Length"] = str(artifact.bytes)
    if artifact.media_type.startswith(("text/html", "image/svg")):  # both hold styles, and could hold scripts
        headers["Content-Security-Policy"] = REPORT
    if not artifact.shown:
        headers |= _attachment(path.rpartition("/")[2])
    return StreamingResponse(artifact.read(), headers=headers, media_type=artifact.media_type)


def read_rows(
    dag_id: str,
    run_id: str,
    table: Table,
    session: SessionDep,
    value: Annotated[str, QueryParameter(max_length=200)] = "",
    text: Annotated[str, QueryParameter(max_length=200)] = "",
    order: Order | None = None,
    offset: Annotated[int, QueryParameter(ge=0, le=MANY_ROWS)] = 0,
) -> dict[str, Any]:
    """Return rows of a table of a prediction run: those with a label or status, or with a text in the path."""
    manifest = _predictions(dag_id, run_id, session)
    try:
        return find_rows(manifest, Query(table, value, text, order, offset))
    except TooManyRowsError as error:
        raise HTTPException(413, f"More than {SORTED:,} rows match, too many to sort: filter them first.") from error


def read_table(dag_id: str, run_id: str, table: Table, kind: Format, session: SessionDep) -> Response:
    """Return a whole table of a prediction run as a file."""
    manifest = _predictions(dag_id, run_id, session)
    _check_size(sum(file.bytes for file in manifest.files if file.path.startswith(f"{table}/")))
    headers = _attachment(f"{table}.{kind}")
    return StreamingResponse(download(manifest, table, kind), headers=headers, media_type=TABLE_TYPES[kind])


def read_history(session: SessionDep) -> dict[str, Any]:
    """Return all runs of the training flow, oldest first."""
    return {"runs": history(load_deployment().storage, list_airflow_runs(session))}


def read_models(session: SessionDep) -> dict[str, Any]:
    """Return the champion and the candidates from the registry."""
    return registered_models(load_deployment(), lambda run_id: find_airflow_run(session, PROMOTION, run_id) is not None)


def read_introduction() -> dict[str, Any]:
    """Return what the page 'Try it' shows before a photograph is chosen."""
    return introduction(load_deployment())


def _predictions(dag_id: str, run_id: str, session: SessionDep) -> Manifest:
    """Return the manifest of stage predict in a run, whose tables are whole."""
    _airflow_run(dag_id, run_id, session)
    folder = _folder(dag_id, run_id)
    manifest = folder.manifest("predict") if folder else None
    if manifest is None or not all(manifest.table(name) for name in get_args(Table)):
        raise _not_found()
    return manifest


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise HTTPException(
            413, f"It has {size >> 20:,} MB, more than the limit of {LARGEST >> 20} MB: read it from the storage."
        )


def _attachment(name: str) -> dict[str, str]:
    """Return the headers of a file that the browser must not show."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}


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
