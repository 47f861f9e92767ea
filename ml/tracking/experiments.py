"""Where MLflow keeps the experiments, and how they are reached."""

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
# Read by MLflow as it is imported; it would report its use, tell of every step, and wait minutes for
# a server that is gone.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def tracking_uri(root: str) -> str:
    """Where the experiments of a storage root are kept: the deployment's tracking server, else SQLite below the root.

    Raises:
        ConfigurationError: The root is not on this machine and the deployment names no tracking server.
    """
    if server := load_deployment().mlflow:
        return server.rstrip("/")
    database = storage.local_path(layout.mlflow_database_uri(root))
    if database is None:
        raise ConfigurationError(
            f"MLflow cannot keep its database in {root}, which is no local folder.",
            "Name a tracking server in the deployment's file: mlflow: http://host:5000",
        )
    return f"{SQLITE}{database}"


def experiment_name(config: TrainingConfig) -> str:
    """The experiment that holds the trainings of a class, such as `open-images-human-face`."""
    return "open-images-" + re.sub(r"[^a-z0-9]+", "-", config.chip_class.lower()).strip("-")


def run_page(uri: str, experiment: str, run_id: str) -> str | None:
    """The page of an MLflow run, where there is a tracking server; the address without a password that it holds."""
    if not uri.startswith("http"):
        return None
    return f"{shown(uri)}/#/experiments/{experiment}/runs/{run_id}"


def shown(uri: str) -> str:
    """An address as it may be shown: without the name and password that it may hold."""
    return re.sub("//[^/@]*@", "//", uri)


def connect(uri: str) -> MlflowClient:
    """MLflow's client, silent and without reports to its makers."""
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each time it tries again
    from mlflow import MlflowClient

    return MlflowClient(uri)


def open_experiment(uri: str, config: TrainingConfig) -> tuple[MlflowClient, str]:
    """Reach the experiment of a run, which is made where it is not there: MLflow's client and the experiment's id.

    Raises:
        ConfigurationError: The database is of another version of MLflow.
        TransientError: The tracking server does not answer.
        ResourceError: The local database cannot be used.
    """
    with reach(uri) as client:
        return client, _experiment(client, uri, experiment_name(config))


@contextlib.contextmanager
def reach(uri: str) -> Iterator[MlflowClient]:
    """MLflow's client; what fails with it is told as `open_experiment` tells it.

    A local database is locked meanwhile, so that what is looked up and then made is made once.
    """
    try:
        with _lock(uri):
            yield connect(uri)
    except StageError:
        raise
    except Exception as error:  # of MLflow, of the database, of the network
        raise refusal(uri, error) from error


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, made or brought back where it is not there."""
    from mlflow.exceptions import MlflowException

    place = None
    if uri.startswith(SQLITE):
        place = (Path(uri.removeprefix(SQLITE)).parent / "artifacts" / name).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            # The pages for model training, not those for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.create_experiment(name, artifact_location=place, tags=kind)
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None:  # not just made by another training
                raise error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextlib.contextmanager
def _lock(uri: str) -> Iterator[None]:
    """One process at a time makes the database and its experiments, which MLflow itself does not see to."""
    if not uri.startswith(SQLITE):
        yield
        return
    database = Path(uri.removeprefix(SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # A file that is no database, or may not be written, would be tried again by MLflow for minutes.
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
        yield


def refusal(uri: str, error: Exception) -> StageError:
    """What to tell of an error that came from MLflow, its database or the network."""
    told = f"{type(error).__name__}: {str(error).strip()[:500]}"
    if "out-of-date database schema" in told:
        return ConfigurationError(
            f"MLflow's database {uri} is of another version of MLflow.", f"Copy it, then run: mlflow db upgrade {uri}"
        )
    if uri.startswith(SQLITE):
        return ResourceError(f"MLflow's database {uri} cannot be used: {told}", "See to its folder, rights and disk.")
    return TransientError(
        f"The tracking server {shown(uri)} does not answer as it should: {shown(told)}",
        "See to the server, or to `mlflow` in the deployment's file.",
    )
