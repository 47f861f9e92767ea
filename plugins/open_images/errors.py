"""What the code of the flow needs in an Airflow task: keys for its store, and its errors as Airflow's exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from ml import storage
from ml.errors import NothingNewError, StageError, TransientError
from ml.store_faults import explain
from ml.workflow import layout
from open_images.object_store import use_object_store


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
        raise AirflowSkipException(str(nothing)) from nothing
    except StageError as error:
        raise _exception(error.kind, str(error)) from error
    except (OSError, RuntimeError) as error:  # of a disk or a store
        if explained := explain(error):
            raise _exception(explained.kind, str(explained)) from error
        raise


def failure_of(attempt: str, otherwise: str) -> AirflowException:
    """Return Airflow's exception for a failed job, from its `error.json`; without one a retry may help."""
    uri = layout.error_uri(attempt)
    if not storage.exists(uri):
        return AirflowException(f"{otherwise} The job left no error.json; see the log above.")
    error = storage.read_json(uri)
    return _exception(error["kind"], f"{error['message']} {error['advice']}".strip())


def _exception(kind: str, message: str) -> AirflowException:
    exception = AirflowException if kind == TransientError.kind else AirflowFailException
    return exception(f"{kind}: {message}")
