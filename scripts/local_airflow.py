"""Runs Airflow on this machine, for development: `python scripts/local_airflow.py up|down|env`.

Airflow's own `airflow standalone` would do most of it, but it has the log servers of its scheduler and triggerer listen
on every address of the machine. The same four components are started here with one log server beside them, and all of
them keep to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import importlib.metadata
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from ml.errors import PassingError, ResourceError, StageError
from ml.java import java_home
from ml.supervision import end_processes, find_process

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
LOOPBACK = (HOST, "::1", f"::ffff:{HOST}")
USER = "admin"
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
LOCAL_NOTE = """\
# Defaults of this machine's runs, yours to change. spark_conf is for the short jobs of a small release: for the whole
# data set remove it, and set spark.driver.memory instead.
"""
STOP_SECONDS = 10
DATABASE_SECONDS = 60
CONFIG = Path(__file__).resolve().parent / "local_airflow_config"


def main() -> int:
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


def airflow_home(root: Path) -> Path:
    """The folder of Airflow's database, logs and secrets, closed to other users."""
    home = root / "var" / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with contextlib.suppress(FileExistsError):  # where Airflow looks for airflow_local_settings.py
        (home / "config").symlink_to(CONFIG)
    return home


def environment(root: Path, port: int | None = None) -> dict[str, str]:
    """Give the variables with which Airflow runs on this machine, to be laid over `os.environ`.

    Secrets are made at the first call and kept in `var/airflow`.

    Args:
        root: The project's folder, or another one with `dags/` and `plugins/` in it.
        port: The API server's port. Defaults to that of the Airflow that runs, else to a free one.
    """
    home = airflow_home(root)
    if port is None:
        running = recorded(root)
        port = running["port"] if running else free_port()
    url = f"http://{HOST}:{port}"
    kept = _secrets(home)
    programs = Path(sys.prefix) / "bin"
    variables = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Answers 127.0.0.1: where logs are asked for, and the same after a laptop has changed its network and name.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "urllib.request.localhost",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords(home)),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": kept["api_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt_secret"],
        # SQLite has one writer at a time. After the five seconds that Python waits by itself, as on a disk that is busy
        # with an installation, the scheduler would end for good.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout={DATABASE_SECONDS}",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "JAVA_HOME": str(java_home()),
        # Driver and executors must run the same Python.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": HOST,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # A process that Airflow renames keeps its environment, by whose mark `down` finds it without its parent.
        "SPT_NOENV": "1",
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
        # Calls between Airflow's components go through no proxy.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST, "localhost"])),
    }
    defaults = {
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client"}}
        ),
        "OPEN_IMAGES_CONFIG": str(root / "var" / "deployment.yaml"),
    }
    return variables | {name: os.environ.get(name) or value for name, value in defaults.items()}


def _secrets(home: Path) -> dict[str, str]:
    """Secrets of this machine's Airflow, made once."""
    made = {
        "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "jwt_secret": secrets.token_urlsafe(64),
        "api_secret_key": secrets.token_urlsafe(32),
    }
    return json.loads(_write_once(home / "secrets.json", json.dumps(made)).read_text())


def _passwords(home: Path) -> Path:
    """The file that Airflow's simple auth manager keeps, made here so that no password is printed to a log."""
    return _write_once(home / "passwords.json", json.dumps({USER: secrets.token_urlsafe(12)}))


def _write_once(path: Path, text: str) -> Path:
    """Write a file for this user alone, unless it is there; of two processes at once, one wins whole."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path


def free_port(default: int = 8080) -> int:
    """The port that `PORT` names, else the default, or the next one after it that is free."""
    wanted = os.environ.get("PORT") or str(default)
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise ResourceError(f"PORT is {wanted!r}, which is no port.", "Give a number from 1024 to 65535.")
    return _free_from(int(wanted))


def _free_from(first: int) -> int:
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            # As the server does; otherwise a port counts as taken for a minute after its last user.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise ResourceError(f"Port {first} and the 99 after it cannot be used.", "Name another one: PORT=<number>.")


@contextlib.contextmanager
def only_one_at_a_time(root: Path) -> Iterator[None]:
    with (airflow_home(root) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def migrate(root: Path) -> None:
    """Make or upgrade Airflow's database, where that is needed: the first time takes some 20 s."""
    home = airflow_home(root)
    stamp = home / "migrated-to"
    version = importlib.metadata.version("apache-airflow")
    if (home / "airflow.db").exists() and stamp.exists() and stamp.read_text() == version:
        return
    print("Making Airflow's database, which takes about 20 s ...", flush=True)
    done = subprocess.run(
        ["airflow", "db", "migrate"],
        env={**os.environ, **environment(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        raise ResourceError("Airflow's database could not be made; what `airflow db migrate` said stands above.")
    stamp.write_text(version)


def ensure_deployment(root: Path) -> Path:
    """Write `var/deployment.yaml`, and the drawn release that it names, where they are absent.

    Returns:
        The file.
    """
    deployment = root / "var" / "deployment.yaml"
    release = root / "var" / "sample-release"
    if not deployment.exists():
        deployment.parent.mkdir(parents=True, exist_ok=True)
        # For the short jobs of a small release: no web page, few partitions, and Java's quick compiler alone, which
        # saves a quarter of each job. The file says that it is the user's to change for a release of millions of rows.
        spark_conf = {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "8",
            "spark.log.level": "WARN",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        }
        content = {"storage": str(root / "var" / "storage"), "release": str(release), "spark_conf": spark_conf}
        deployment.write_text(LOCAL_NOTE + yaml.safe_dump(content))
    if yaml.safe_load(deployment.read_text()).get("release") == str(release) and not release.exists():
        print("Drawing a small release into var/sample-release ...", flush=True)
        done = subprocess.run([sys.executable, "-m", "ml", "sample-release", str(release)], cwd=ROOT)
        if done.returncode:
            raise ResourceError("The sample release could not be drawn; what was said stands above.")
    return deployment


def up(root: Path) -> None:
    """Start Airflow and return once it is healthy; say so and leave it where it runs already.

    Raises:
        PassingError: It did not come up, and nothing of it is left running; or it runs without one of its components.
        ResourceError: A part of the machine is not as it should be.
    """
    with only_one_at_a_time(root):
        running = recorded(root)
        if running and processes(running):
            ended = [name for name, component in running["components"].items() if find_process(**component) is None]
            if ended:
                raise PassingError(
                    f"Airflow runs, but without its {' and '.join(ended)}, which ended by itself.",
                    "var/airflow/standalone.log tells why. Start it anew: make down, then make up.",
                )
            print("Airflow runs already.")
            _say_how_to_reach(root, running["port"])
            return
        ensure_deployment(root)
        migrate(root)
        port = free_port()
        if os.environ.get("PORT") not in (None, "", str(port)):
            print(f"Port {os.environ['PORT']} is taken; {port} is used.")
        record = _start(root, port)
        try:
            _wait_until_healthy(root, record)
            _check_listeners(processes(record))
        except BaseException:
            print(_tail(root / "var" / "airflow" / "standalone.log"), file=sys.stderr)
            end_processes(processes(record), STOP_SECONDS)
            _record_path(root).unlink(missing_ok=True)
            raise
        _say_how_to_reach(root, port)


def _start(root: Path, port: int) -> dict:
    """Start each component apart from this terminal, and record them."""
    home = airflow_home(root)
    mark = secrets.token_hex(8)
    log_port = str(_free_from(8793))
    variables = {
        **os.environ,
        **environment(root, port),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": log_port,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": log_port,
        "UVICORN_PORT": log_port,  # read by the uvicorn of the log server
        MARK: mark,
    }
    record: dict = {"port": port, "mark": mark, "components": {}}
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
            record["components"][name] = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
            _record_path(root).write_text(json.dumps(record, indent=2))
    return record


def _wait_until_healthy(root: Path, record: dict) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(record["port"]):
        for name, component in record["components"].items():
            if find_process(**component) is None:
                raise PassingError(f"Airflow's {name} ended by itself.", "The end of its log stands above.")
        if time.monotonic() > deadline:
            raise PassingError(f"Airflow did not come up in {START_SECONDS} s.", "The end of its log stands above.")
        time.sleep(1)


def _healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/api/v2/monitor/health", timeout=10) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all((health.get(name) or {}).get("status") == "healthy" for name in HEALTHY_COMPONENTS)


def _check_listeners(family: list[psutil.Process]) -> None:
    """Make sure that nothing that was started can be reached from another machine."""
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
            _record_path(root).unlink(missing_ok=True)
    print(f"Airflow was stopped ({len(family)} processes)." if family else "No Airflow of this project runs.")


def processes(record: dict) -> list[psutil.Process]:
    """List all that runs of a recorded Airflow: the components, what descends from them, and what has lost its parent.

    A component is known by process id and start time, so that a process that has its recycled id is left alone. What
    has lost its parent is known by the mark in its environment.
    """
    found: dict[int, psutil.Process] = {}
    for component in record["components"].values():
        process = find_process(**component)
        if process:
            with contextlib.suppress(psutil.Error):
                found |= {relative.pid: relative for relative in [process, *process.children(recursive=True)]}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in found and process.environ().get(MARK) == record["mark"]:
                found[process.pid] = process
    return [process for process in found.values() if process.is_running()]


def recorded(root: Path) -> dict | None:
    """What `up` wrote down about the Airflow that it started last, or None."""
    try:
        return json.loads(_record_path(root).read_text())
    except (OSError, ValueError):
        return None


def _record_path(root: Path) -> Path:
    return root / "var" / "airflow" / "standalone.json"


def _say_how_to_reach(root: Path, port: int) -> None:
    password = json.loads(_passwords(airflow_home(root)).read_text())[USER]
    print(f"Airflow is at http://{HOST}:{port}/ - log in as {USER} with the password {password}")
    print("Stop it with: make down")


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
