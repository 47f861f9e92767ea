"""What the code of the flow needs in an Airflow task: keys for its store, and its errors as Airflow's exceptions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from ml import storage
from ml.errors import NothingNewError, StageError, TransientError
from ml.redaction import without_secrets
from ml.store_faults import explain
from ml.workflow import layout
from open_images.object_store import use_object_store

log = logging.getLogger(__name__)
# Keys of the XComs in which a task says why it failed or was skipped, for the pages. A retry removes them.
FAILURE, REASON = "failure", "reason"


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Run code of the flow in a task: with the object store's keys, and with its errors as Airflow's exceptions.

    Airflow retries transient errors; all others fail at once. A task that has nothing to do is skipped.

    Raises:
        AirflowSkipException: There is nothing new.
        AirflowFailException: A retry cannot help.
        AirflowException: A retry may help.
    """
    try:
        use_object_store()
        yield
    except NothingNewError as nothing:
        raise skip(str(nothing)) from nothing
    except StageError as error:
        raise _failure(error.kind, error.message, error.advice) from error
    except (OSError, RuntimeError) as error:  # of a disk or a store
        if explained := explain(error):
            raise _failure(explained.kind, explained.message, explained.advice) from error
        raise


def failure_of(attempt: str, otherwise: str) -> AirflowException:
    """Return Airflow's exception for a failed job, from its `error.json`; without one a retry may help."""
    uri = layout.error_uri(attempt)
    if not storage.exists(uri):
        return _failure(TransientError.kind, otherwise, "The job left no error.json; see the task's log.")
    error = storage.read_json(uri)
    return _failure(error["kind"], error["message"], error["advice"])


def skip(reason: str) -> AirflowSkipException:
    """Record for the pages why the task is skipped, and return Airflow's exception for it."""
    _record(REASON, without_secrets(reason))
    return AirflowSkipException(reason)


def _record(key: str, value: Any) -> None:
    try:
        get_current_context()["ti"].xcom_push(key, value)
    except Exception as error:  # outside of a task, or Airflow's server is gone: the outcome itself matters more
        log.debug("%s was not recorded for the pages: %s", key, error)


def _failure(kind: str, message: str, advice: str) -> AirflowException:
    """Record the failure for the pages, and return Airflow's exception for it."""
    _record(FAILURE, {"kind": kind, "message": without_secrets(message), "advice": without_secrets(advice)})
    exception = AirflowException if kind == TransientError.kind else AirflowFailException
    return exception(f"{kind}: {message} {advice}".strip())
