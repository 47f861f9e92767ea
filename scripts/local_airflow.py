"""Run Airflow on this machine, for development: `python scripts/local_airflow.py up|down|env`.

`airflow standalone` does nearly the same, but the log servers of its scheduler and triggerer listen on every address of
the machine, which no setting changes. This script starts the same four components and one log server, all of which
listen only on 127.0.0.1 (docs/decisions/0008-libraries-tried.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from airflow_environment import API_PORT, ROOT, ensure_deployment, environment, migrate
from airflow_home import (
    USER,
    Component,
    Record,
    airflow_home,
    only_one_at_a_time,
    password,
    recorded,
    remove_record,
    write_record,
)
from ml.environment import check_environment
from ml.errors import ResourceError, StageError, TransientError
from ml.workflow.supervision import end_processes
from ports import HOST, free_port, free_port_from

LOOPBACK = (HOST, "::1", f"::ffff:{HOST}")
LOG_PORT = 8793  # beside the default API_PORT; Airflow's own default
LOG_APP = "airflow.utils.serve_logs.log_server:get_app"
# The API server comes first: the others call it.
COMPONENTS = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer", "--skip-serve-logs"],
    # Without it, the log of a running task cannot be shown.
    "log-server": [sys.executable, "-m", "uvicorn", "--factory", LOG_APP, "--host", HOST, "--no-access-log"],
}
HEALTHY_COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
# In the environment of everything that `up` starts, to find tasks' processes whose parents have ended.
MARK = "OPEN_IMAGES_LOCAL_AIRFLOW"
START_SECONDS = 180
STOP_SECONDS = 10


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Run Airflow on this machine, for development.")
    parser.add_argument("command", choices=["up", "down", "env"], help="env prints lines for eval in a shell")
    command = parser.parse_args().command
    try:
        if command == "env":
            for name, value in environment(ROOT).items():
                print(f"export {name}={shlex.quote(value)}")
        elif command == "up":
            up(ROOT)
        else:
            down(ROOT)
    except StageError as error:
        print(f"local_airflow: {error}", file=sys.stderr)
        return 1
    return 0


def up(root: Path) -> None:
    """Start Airflow and return once it is healthy; if it is running already, only print its address.

    Raises:
        TransientError: It did not start, and all its processes were stopped; or it is running but a component ended.
        ResourceError: The machine lacks something, or a server is open to other machines.
        ConfigurationError: The user's environment lets no Spark job run.
    """
    with only_one_at_a_time(root):
        running = recorded(root)
        if running and processes(running):
            if ended := running.ended():
                raise TransientError(
                    f"Airflow is running without its {' and '.join(ended)}, which ended unexpectedly.",
                    "See var/airflow/standalone.log. Restart Airflow: make down, then make up.",
                )
            print("Airflow is already running.")
            _say_how_to_reach(root, running.port)
            return
        check_environment()
        ensure_deployment(root)
        migrate(root)
        port = free_port(API_PORT)
        if os.environ.get("PORT") not in (None, "", str(port)):
            print(f"Port {os.environ['PORT']} is taken; using {port}.")
        record = _start(root, port)
        try:
            _wait_until_healthy(record)
            check_listeners(processes(record))
        except BaseException:
            print(_tail(root / "var" / "airflow" / "standalone.log"), file=sys.stderr)
            end_processes(processes(record), STOP_SECONDS)
            remove_record(root)
            raise
        _say_how_to_reach(root, port)


def _start(root: Path, port: int) -> Record:
    """Start the components in sessions of their own, and record them."""
    home = airflow_home(root)
    record = Record(port, secrets.token_hex(8), {})
    log_port = str(free_port_from(port + LOG_PORT - API_PORT))  # PORT moves both
    variables = {
        **os.environ,
        **environment(root, port),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": log_port,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": log_port,
        "UVICORN_PORT": log_port,  # read by the uvicorn of the log server
        MARK: record.mark,
    }
    print(f"Starting Airflow on port {port}; its log is var/airflow/standalone.log ...", flush=True)
    log_path = home / "standalone.log"
    log_path.unlink(missing_ok=True)
    with log_path.open("ab") as log:
        for name, command in COMPONENTS.items():
            # In a new session, so that Ctrl-C or closing the terminal does not end it.
            process = subprocess.Popen(
                command,
                env=variables,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            record.components[name] = Component.of(process.pid)
            write_record(root, record)
    return record


def _wait_until_healthy(record: Record) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(record.port):
        if ended := record.ended():
            raise TransientError(f"Airflow's {ended[0]} ended unexpectedly.", "See the end of its log above.")
        if time.monotonic() > deadline:
            raise TransientError(f"Airflow did not start within {START_SECONDS} s.", "See the end of its log above.")
        time.sleep(1)


def _healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/api/v2/monitor/health", timeout=10) as response:
            health = json.load(response)
    except (OSError, ValueError):
        return False
    return all((health.get(name) or {}).get("status") == "healthy" for name in HEALTHY_COMPONENTS)


def check_listeners(family: list[psutil.Process]) -> None:
    """Check that other machines cannot reach any of these processes.

    Raises:
        ResourceError: One of them listens on an address that is not local.
    """
    for process in family:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in LOOPBACK:
                    raise ResourceError(
                        f"{process.name()} listens on {connection.laddr.ip}:{connection.laddr.port}, which other "
                        "machines can reach; Airflow was stopped.",
                        "Look for an AIRFLOW__ or SPARK_ variable in your environment that sets this address.",
                    )


def down(root: Path) -> None:
    """Stop the Airflow that `up` started, with its tasks and their Spark jobs."""
    with only_one_at_a_time(root):
        record = recorded(root)
        family = processes(record) if record else []
        # All at once, because the scheduler would wait for its tasks.
        end_processes(family, STOP_SECONDS)
        if record:
            # Processes that started while the others were ending.
            end_processes(processes(record), STOP_SECONDS)
            remove_record(root)
    print(f"Airflow was stopped ({len(family)} processes)." if family else "No Airflow of this project is running.")


def processes(record: Record) -> list[psutil.Process]:
    """List the running processes of a recorded Airflow: its components, their descendants, and orphans.

    Orphans are found by the mark in their environment.
    """
    found: dict[int, psutil.Process] = {}
    for component in record.components.values():
        if process := component.process():
            with contextlib.suppress(psutil.Error):
                found |= {relative.pid: relative for relative in [process, *process.children(recursive=True)]}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in found and process.environ().get(MARK) == record.mark:
                found[process.pid] = process
    return [process for process in found.values() if process.is_running()]


def _say_how_to_reach(root: Path, port: int) -> None:
    print(f"Airflow is at http://{HOST}:{port}/ - log in as {USER} with the password {password(root)}")
    print("Stop it with: make down")


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
