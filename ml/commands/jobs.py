"""The jobs of stages on this machine: a process of this Python, or spark-submit with a local master."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from ml import environment as users_environment
from ml import storage
from ml.class_data import submit_environment
from ml.config.deployment import Deployment
from ml.errors import ConfigurationError, DataError, ResourceError, StageError, TransientError
from ml.flow.stage import Stage
from ml.java import java_home
from ml.object_store import spark_settings
from ml.workflow import layout
from ml.workflow.supervision import SUPERVISOR_VARIABLE, end_process_tree, identity

MESSAGE = re.compile(r"\d\d:\d\d:\d\d INFO (.*)")  # see `ml.logs`
KINDS: dict[str, type[StageError]] = {
    kind.kind: kind for kind in (DataError, ConfigurationError, ResourceError, TransientError)
}


def job_command(stage: Stage, run: str, attempt: str, deployment: Deployment, master: str) -> list[str]:
    """Return the command that does a stage's work in an attempt.

    Args:
        stage: The stage.
        run: The run folder.
        attempt: The attempt's name.
        deployment: The deployment's settings, which hold properties of Spark.
        master: Spark's master, on this machine: `local[2]`, for example.

    Raises:
        ConfigurationError: spark-submit or the job's file is missing.
    """
    arguments = ["--run", run, "--attempt", attempt]
    if stage.engine == "process":
        return [sys.executable, "-m", "ml", stage.name, *arguments]
    settings = spark_settings(os.environ) if deployment.storage.startswith(("s3://", "s3a://")) else {}
    properties = [f"--conf={name}={value}" for name, value in {**settings, **deployment.spark_conf}.items()]
    return [_spark_submit(), "--master", master, *properties, str(_job_file(stage)), *arguments]


def job_environment(stage: Stage, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a job: it ends when this process does, and Spark has a Java and this Python.

    Raises:
        ConfigurationError: The stage needs Java, and there is none.
    """
    own = {**environment, SUPERVISOR_VARIABLE: identity()}
    if stage.engine == "process":
        return own
    java = java_home()
    return {
        **own,
        **users_environment.job_environment(environment),
        "JAVA_HOME": str(java),
        # Driver and workers must run the same Python.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": environment.get("SPARK_LOCAL_IP", "127.0.0.1"),
        **submit_environment(java),
    }


def run_job(command: list[str], environment: Mapping[str, str], log: TextIO, on_message: Callable[[str], None]) -> int:
    """Run a job to its end, with its output in a log.

    If this process is interrupted, the job and everything that it started end too.

    Args:
        command: The job's command.
        environment: Its environment.
        log: Where its output goes.
        on_message: Is called with each message that this project's code logs.

    Returns:
        The job's exit code.
    """
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if message := MESSAGE.match(line):
                    on_message(message[1])
            return process.wait()
        except BaseException:
            end_process_tree(process.pid)
            raise


def failure_of(attempt: str, otherwise: str, log: Path) -> StageError:
    """Return the error of a failed job, from the `error.json` in its attempt.

    Args:
        attempt: The attempt folder.
        otherwise: What to say if the job left no `error.json`.
        log: The log of the job.
    """
    uri = layout.error_uri(attempt)
    if not storage.exists(uri):
        return TransientError(otherwise, f"See {log}.")
    error = storage.read_json(uri)
    return KINDS[error["kind"]](error["message"], f"{error['advice']} The job's log: {log}".strip())


def _spark_submit() -> str:
    found = shutil.which("spark-submit", path=str(Path(sys.executable).parent)) or shutil.which("spark-submit")
    if found is None:
        raise ConfigurationError(
            "There is no spark-submit, which the package pyspark installs.", "Use the project's environment: make setup"
        )
    return found


def _job_file(stage: Stage) -> Path:
    # `ml` must not import the package, which imports Spark.
    package = importlib.util.find_spec("spark_jobs")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError(
            "There is no package spark_jobs, which holds the jobs.", "Run this in the project's folder."
        )
    return Path(package.submodule_search_locations[0], f"{stage.name}.py")
