"""The route that answers a photograph of the page 'Try it'."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError
from open_images.web.try_it import LARGEST, SIGNATURES, BusyError, Explainer, NoAnswerError, current_model

EXPLAINER = Explainer()
PLACES = threading.BoundedSemaphore(4)  # photographs in memory at a time, of which one is answered and others wait
READ_SECONDS = 60.0
BUSY = "Other photographs are being answered. Try again in a moment."
BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SIGNATURES},
    },
}


async def explain(request: Request) -> dict[str, Any]:
    """Return what the current model says about the photograph in the body; nothing is stored.

    A page of another site cannot call this for a user who is logged in: browsers ask before they send a body of these
    types to another site, and Airflow does not agree.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "Only Airflow's own pages may ask.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in SIGNATURES:
        raise HTTPException(415, "Send a JPEG or PNG file.")
    if not PLACES.acquire(blocking=False):
        raise HTTPException(429, BUSY)
    try:
        photograph = await _read(request)
        if not photograph.startswith(SIGNATURES[kind]):
            raise HTTPException(422, "This is not a JPEG or PNG file.")
        return await run_in_threadpool(_answer, photograph)
    finally:
        PLACES.release()


async def _read(request: Request) -> bytes:
    """Read the body, and stop where it becomes too large or takes too long."""
    content = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > LARGEST:
                    raise HTTPException(413, f"The photograph has more than {LARGEST >> 20} MB.")
    except TimeoutError as error:
        raise HTTPException(408, "The photograph did not arrive in time.") from error
    return bytes(content)


def _answer(photograph: bytes) -> dict[str, Any]:
    deployment = load_deployment()
    model = current_model(deployment)
    if model is None:
        raise HTTPException(409, "No model has been trained yet.")
    try:
        reply = EXPLAINER.ask(model["train"], deployment.prediction, photograph)
    except BusyError as error:
        raise HTTPException(429, BUSY) from error
    except NoAnswerError as error:
        raise HTTPException(504, "The model did not answer in time; see the API server's log.") from error
    if fault := reply.pop("fault"):
        status = 409 if fault["kind"] == ConfigurationError.kind else 422
        raise HTTPException(status, f"{fault['message']} {fault['advice']}".strip())
    return {**reply, "model": {name: model[name] for name in ("model", "number")}}
