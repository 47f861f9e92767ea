"""Show the experiments in MLflow's pages, on this machine only: `make mlflow`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from airflow_environment import ROOT
from ml import storage
from ml.config.deployment import DEPLOYMENT_VARIABLE, load_deployment
from ml.errors import ResourceError, StageError
from ml.tracking import experiments
from ml.workflow.supervision import end_process_tree
from ports import HOST, free_port

STOP_SECONDS = 10


def main() -> int:
    written = ROOT / "var" / "deployment.yaml"  # `make demo` and `make up` write it
    if written.exists():
        os.environ.setdefault(DEPLOYMENT_VARIABLE, str(written))
    try:
        show()
    except StageError as error:
        print(f"mlflow_pages: {error}", file=sys.stderr)
        return 1
    return 0


def show() -> None:
    """Serve the pages of the deployment's experiments until Ctrl-C, or say which server shows them.

    Raises:
        ConfigurationError: The deployment's file is wrong.
        ResourceError: There are no experiments yet, or no port is free.
    """
    deployment = load_deployment()
    uri = experiments.tracking_uri(deployment.storage)
    if deployment.mlflow:
        print(f"The deployment's experiments are at {uri}")
        return
    if not storage.exists(uri.removeprefix(experiments.SQLITE)):
        raise ResourceError(
            f"Nothing to show yet: no training has started under {deployment.storage}.",
            "Train first: make demo, or make up.",
        )
    port = free_port(5000)
    print(f"MLflow starts at http://{HOST}:{port}/ - choose 'Model training' there. Stop it with Ctrl-C.", flush=True)
    settings = {
        **experiments.SETTINGS,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # turns off processes for evaluating language models
    }
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", HOST, "--port", str(port), "--uvicorn-opts", "--log-level warning"]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # In a new session: otherwise Ctrl-C would reach the server twice and print a traceback.
    with subprocess.Popen(command, env={**os.environ, **settings}, start_new_session=True) as server:
        try:
            server.wait()
        except KeyboardInterrupt:
            server.terminate()
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)
            end_process_tree(server.pid)


if __name__ == "__main__":
    sys.exit(main())
