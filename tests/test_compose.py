"""Tests of `docker-compose.yaml` and of what lies around it, as far as they go without containers."""

from __future__ import annotations

import http.server
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.tracking import experiments

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
SECRET = re.compile(r"PASSWORD$|SECRET(_KEY)?$|FERNET_KEY$")
REQUIRED = re.compile(r"\$\{(\w+):\?")


def values(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def test_services_are_those_of_the_workflow() -> None:
    assert OURS == [
        "api-server",
        "dag-processor",
        "init",
        "mlflow",
        "scheduler",
        "spark-master",
        "spark-worker",
        "triggerer",
    ]  # fmt: skip
    assert set(SERVICES) - set(OURS) == {"postgres"}


@pytest.mark.parametrize("name", OURS)
def test_program_of_a_service_exists(name: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    # Not resolved: the environment's own folder of programs is meant, not that of the Python behind it.
    assert os.access(Path(sys.executable).parent / program, os.X_OK)
    for argument in arguments:
        if argument.endswith(".py"):
            assert (ROOT / argument).is_file()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_bound_to_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert isinstance(port, str)
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_has_a_literal_value(name: str) -> None:
    for variable, value in values(name).items():
        if SECRET.search(variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable
        # The password within an address, as in scheme://user:password@host.
        password = re.search(r"://[^:/@]+:(.+)@", value)
        assert password is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", password[1]), variable


def test_example_names_each_secret_and_gives_none() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    assert set(example) == set(REQUIRED.findall(TEXT))
    assert not any(example.values())
    optional = {line[2:].split("=")[0] for line in lines if re.match(r"# [A-Z_]+=", line)}
    assert optional == set(re.findall(r"\$\{(\w+):-", TEXT))


def test_only_our_own_services_share_the_volumes() -> None:
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {volume for volume in named if not volume.startswith("$")} == set(COMPOSE["volumes"])
    for name in OURS:
        assert "storage:/data/storage" in SERVICES[name]["volumes"]
        assert "${RELEASE:-./var/sample-release}:/data/open-images:ro" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"init"}))
def test_services_that_stay_have_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_what_a_service_waits_for_exists_and_can_come_to_pass() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] == ("service_completed_successfully" if other == "init" else "service_healthy")
            assert other == "init" or "healthcheck" in SERVICES[other]


def test_connection_is_the_cluster_of_the_same_file() -> None:
    from airflow.sdk import Connection

    connection = Connection.from_json(values("scheduler")["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert connection.conn_type == "spark"
    assert f"{connection.host}:{connection.port}" == "spark://spark-master:7077"
    assert connection.extra_dejson == {"deploy-mode": "client"}
    assert SERVICES["spark-worker"]["command"][-1] == "spark://spark-master:7077"


def test_deployment_names_the_mounted_folders() -> None:
    deployment = yaml.safe_load((ROOT / "docker" / "deployment.yaml").read_text())
    assert deployment == {"storage": "/data/storage", "release": "/data/open-images", "roots": ["/data"]}


def test_mlflow_shows_the_experiments_of_the_storage_root() -> None:
    root = yaml.safe_load((ROOT / "docker" / "deployment.yaml").read_text())["storage"]
    command = SERVICES["mlflow"]["command"]
    assert command[command.index("--backend-store-uri") + 1] == experiments.tracking_uri(root)


def test_image_holds_what_the_project_pins() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    setup = (ROOT / "scripts" / "setup.py").read_text()
    uv = re.search(r'UV_VERSION = "(.+)"', setup)
    assert uv
    assert f"uv=={uv[1]}" in dockerfile
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in dockerfile.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


@pytest.fixture
def health_url() -> Iterator[str]:
    """A server that answers as the API server's health page does."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "healthy"), [([], True), (["scheduler"], True), (["triggerer"], False), (["no-such"], False)]
)
def test_health_check(health_url: str, arguments: list[str], healthy: bool) -> None:
    command = [sys.executable, ROOT / "docker" / "healthcheck.py", health_url, *arguments]
    assert (subprocess.run(command, capture_output=True).returncode == 0) is healthy


def test_init_writes_the_password_for_its_owner_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    passwords = tmp_path / "passwords.json"
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
    for password in ("first", "second"):
        monkeypatch.setenv("AIRFLOW_ADMIN_PASSWORD", password)
        runpy.run_path(str(ROOT / "docker" / "init.py"), run_name="__main__")
    assert yaml.safe_load(passwords.read_text()) == {"admin": "second"}
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert calls == [["airflow", "db", "migrate"]] * 2
