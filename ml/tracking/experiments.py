"""Access to MLflow's experiments: where they are, and a client for them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml import storage
from ml.config.deployment import load_deployment
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, ResourceError, StageError, TransientError
from ml.workflow import layout

if TYPE_CHECKING:
    from mlflow import MlflowClient


SQLITE = "sqlite:///"
# MLflow reads these on import. Without them it sends telemetry, logs every step, and waits minutes for a server that
# is down.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def tracking_uri(root: str) -> str:
    """Return where a storage root's experiments are: the deployment's tracking server, or SQLite under the root.

    Raises:
        ConfigurationError: The root is not on this machine and the deployment names no tracking server.
    """
    if server := load_deployment().mlflow:
        return server.rstrip("/")
    database = storage.local_path(layout.mlflow_database_uri(root))
    if database is None:
        raise ConfigurationError(
            f"MLflow cannot keep its database in {root}, which is not a local folder.",
            "Name a tracking server in the deployment's file: mlflow: http://host:5000",
        )
    return f"{SQLITE}{database}"


def experiment_name(config: TrainingConfig) -> str:
    """Return the name of the experiment for the trainings of a class, such as `open-images-human-face`."""
    return "open-images-" + re.sub(r"[^a-z0-9]+", "-", config.chip_class.lower()).strip("-")


def run_page(uri: str, experiment: str, run_id: str) -> str | None:
    """Return the address of an MLflow run's page without credentials; None without a tracking server."""
    if not uri.startswith("http"):
        return None
    return f"{shown(uri)}/#/experiments/{experiment}/runs/{run_id}"


def shown(uri: str) -> str:
    """Return an address without its user name and password."""
    return re.sub("//[^/@]*@", "//", uri)


def connect(uri: str) -> MlflowClient:
    """Return MLflow's client, with telemetry and chatty logs off."""
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs a line for each retry
    from mlflow import MlflowClient

    return MlflowClient(uri)


def open_experiment(uri: str, config: TrainingConfig) -> tuple[MlflowClient, str]:
    """Open the experiment of a run, and create it if it is missing; return MLflow's client and the experiment's id.

    Raises:
        ConfigurationError: The database is from another version of MLflow.
        TransientError: The tracking server fails.
        ResourceError: The local database cannot be used.
    """
    with reach(uri) as client:
        return client, _experiment(client, uri, experiment_name(config))


@contextlib.contextmanager
def reach(uri: str) -> Iterator[MlflowClient]:
    """Yield MLflow's client; turn its errors into those of `open_experiment`.

    A local database stays locked meanwhile, so that two processes do not create the same thing twice.
    """
    try:
        with _lock(uri):
            yield connect(uri)
    except StageError:
        raise
    except Exception as error:  # from MLflow, the database or the network
        raise refusal(uri, error) from error


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Return the id of an experiment; create it if it is missing, restore it if it was deleted."""
    from mlflow.exceptions import MlflowException

    place = None
    if uri.startswith(SQLITE):
        place = (Path(uri.removeprefix(SQLITE)).parent / "artifacts" / name).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            # Selects the pages for model training, not those for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.create_experiment(name, artifact_location=place, tags=kind)
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None:  # another training did not create it either
                raise error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextlib.contextmanager
def _lock(uri: str) -> Iterator[None]:
    """Let only one process at a time create the database and its experiments; MLflow does not ensure that."""
    if not uri.startswith(SQLITE):
        yield
        return
    database = Path(uri.removeprefix(SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Fail at once on a damaged or read-only file, which MLflow would retry for minutes.
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
        yield


def refusal(uri: str, error: Exception) -> StageError:
    """Return the error to raise for an error from MLflow, its database or the network."""
    cause = f"{type(error).__name__}: {str(error).strip()[:500]}"
    if "out-of-date database schema" in cause:
        return ConfigurationError(
            f"MLflow's database {uri} is from another version of MLflow.", f"Copy it, then run: mlflow db upgrade {uri}"
        )
    if uri.startswith(SQLITE):
        return ResourceError(
            f"MLflow's database {uri} cannot be used: {cause}", "Check its folder, permissions and disk space."
        )
    return TransientError(
        f"The tracking server {shown(uri)} does not answer correctly: {shown(cause)}",
        "Check the server, and `mlflow` in the deployment's file.",
    )
