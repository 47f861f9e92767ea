"""Run Airflow on this machine, for development: `python scripts/local_airflow.py up|down|env`.

Airflow's own `airflow standalone` starts most of it, but the log servers of its scheduler and triggerer listen on every
address of the machine, which no setting changes. The same four components are started here with one log server beside
them, and all of them keep to 127.0.0.1 (docs/decisions/0008-libraries-tried.md).
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
from ml.errors import ResourceError, StageError, TransientError
from ml.workflow.supervision import end_processes
from ports import HOST, free_port, free_port_from

LOOPBACK = (HOST, "::1", f"::ffff:{HOST}")
LOG_APP = "airflow.utils.serve_logs.log_server:get_app"
# The API server comes first: the others call it.
COMPONENTS = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer", "--skip-serve-logs"],
    # Without it, a look at the log of a running task reports that there is none.
    "log-server": [sys.executable, "-m", "uvicorn", "--factory", LOG_APP, "--host", HOST, "--no-access-log"],
}
HEALTHY_COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
# In the environment of all that `up` starts: finds tasks' processes whose parents are gone.
MARK = "OPEN_IMAGES_LOCAL_AIRFLOW"
START_SECONDS = 180
STOP_SECONDS = 10


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Runs Airflow on this machine, for development.")
    parser.add_argument("command", choices=["up", "down", "env"], help="env prints lines for a shell's eval")
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
    """Start Airflow and return once it is healthy; if it runs already, say so and leave it as it is.

    Raises:
        TransientError: It did not come up, and nothing of it is left running; or it runs without one of its components.
        ResourceError: A part of the machine is not as it should be.
    """
    with only_one_at_a_time(root):
        running = recorded(root)
        if running and processes(running):
            if ended := running.ended():
                raise TransientError(
                    f"Airflow runs, but without its {' and '.join(ended)}, which ended by itself.",
                    "var/airflow/standalone.log tells why. Restart Airflow: make down, then make up.",
                )
            print("Airflow runs already.")
            _say_how_to_reach(root, running.port)
            return
        ensure_deployment(root)
        migrate(root)
        port = free_port(API_PORT)
        if os.environ.get("PORT") not in (None, "", str(port)):
            print(f"Port {os.environ['PORT']} is taken; {port} is used.")
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
    """Start each component apart from this terminal, and record them."""
    home = airflow_home(root)
    record = Record(port, secrets.token_hex(8), {})
    log_port = str(free_port_from(8793))
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
            # Apart, as Ctrl-C and the end of the terminal are not meant for it.
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
            raise TransientError(f"Airflow's {ended[0]} ended by itself.", "The end of its log stands above.")
        if time.monotonic() > deadline:
            raise TransientError(f"Airflow did not come up in {START_SECONDS} s.", "The end of its log stands above.")
        time.sleep(1)


def _healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/api/v2/monitor/health", timeout=10) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all((health.get(name) or {}).get("status") == "healthy" for name in HEALTHY_COMPONENTS)


def check_listeners(family: list[psutil.Process]) -> None:
    """Make sure that no other machine can reach anything that was started."""
    for process in family:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in LOOPBACK:
                    raise ResourceError(
                        f"{process.name()} listens on {connection.laddr.ip}:{connection.laddr.port}, which other "
                        f"machines can reach; Airflow was stopped.",
                        "Look for a setting of AIRFLOW__ or SPARK_ in your environment that opens it.",
                    )


def down(root: Path) -> None:
    """Stop the Airflow that `up` started, its tasks, and the Spark jobs of these."""
    with only_one_at_a_time(root):
        record = recorded(root)
        family = processes(record) if record else []
        # At once, as the scheduler alone would wait for its tasks.
        end_processes(family, STOP_SECONDS)
        if record:
            # Whatever was started while the others were being ended.
            end_processes(processes(record), STOP_SECONDS)
            remove_record(root)
    print(f"Airflow was stopped ({len(family)} processes)." if family else "No Airflow of this project runs.")


def processes(record: Record) -> list[psutil.Process]:
    """List all that runs of a recorded Airflow: the components, what descends from them, and what has lost its parent.

    What has lost its parent is known by the mark in its environment.
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
