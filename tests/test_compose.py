"""Tests of what docker-compose.yaml promises: secrets, rights, limits, health. Those of its names are in scripts/."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.config.deployment import load_deployment

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
ONCE = {"init", "store-volume", "bucket"}  # services that do their work and end
SECRET = re.compile(r"PASSWORD$|SECRET(_KEY)?$|FERNET_KEY$|ACCESS_KEY(_ID)?$")
REQUIRED = r"\$\{\w+:\?[^}]+\}"


def values(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def test_services_are_those_of_the_workflow() -> None:
    airflow = ["api-server", "dag-processor", "init", "scheduler", "triggerer"]
    assert sorted([*airflow, "bucket", "mlflow", "spark-master", "spark-worker", "store-volume"]) == OURS
    assert set(SERVICES) - set(OURS) == {"postgres", "store"}
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"bucket", "store", "store-volume"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_has_a_literal_value(name: str) -> None:
    for variable, value in values(name).items():
        if SECRET.search(variable):
            assert re.fullmatch(REQUIRED, value), variable
        # The password within an address, as in scheme://user:password@host, and within a connection.
        for password in re.findall(r"://[^:/@]+:(.+)@|\"(?:login|password)\":\"([^\"]*)\"", value):
            assert re.fullmatch(REQUIRED, "".join(password)), variable


def test_no_secret_is_an_argument_which_the_list_of_processes_shows() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    for name, service in SERVICES.items():
        words = [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
        assert not [word for word in words if any(secret in word for secret in required)], name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_have_no_rights_beyond_their_work(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]|\$\{\w+:-\d+g\}", service["deploy"]["resources"]["limits"]["memory"])
    if name not in OURS:
        assert service["user"] not in ("root", "0", "0:0")


def test_the_image_runs_as_an_ordinary_user_who_owns_what_he_writes() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER airflow"]
    assert any("useradd --uid 50000" in line for line in lines)
    owned = next(line for line in lines if "chown airflow:airflow" in line).split()
    # The folder of the release is mounted for reading.
    targets = {mount.split(":")[-1] for name in OURS for mount in SERVICES[name].get("volumes", [])} - {"ro"}
    assert targets <= set(owned)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_services_that_stay_are_checked_and_started_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(ONCE))
def test_services_that_end_are_not_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    waiting = [service["depends_on"][name] for service in SERVICES.values() if name in service.get("depends_on", {})]
    assert {wait["condition"] for wait in waiting} == {"service_completed_successfully"}


def test_storage_is_shared_by_those_that_read_and_write_it() -> None:
    for name in ("scheduler", "dag-processor", "triggerer", "api-server", "spark-worker"):
        assert "storage:/data/storage" in SERVICES[name]["volumes"], name
        assert "${RELEASE:-./var/sample-release}:/data/open-images:ro" in SERVICES[name]["volumes"], name
    assert "postgres:/var/lib/postgresql/data" in SERVICES["postgres"]["volumes"]


def test_connections_are_those_of_the_services() -> None:
    from airflow.sdk import Connection

    spark = Connection.from_json(values("scheduler")["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert (spark.conn_type, spark.extra_dejson) == ("spark", {"deploy-mode": "client"})
    store = Connection.from_json(values("scheduler")["AIRFLOW_CONN_OBJECT_STORE"])
    assert store.conn_type == "aws"
    assert store.extra_dejson == {"endpoint_url": "http://store:9000", "region_name": "us-east-1"}
    region = SERVICES["store"]["command"]
    assert region[region.index("--region") + 1] == "us-east-1"


@pytest.mark.parametrize("name", ["deployment.yaml", "deployment-s3.yaml"])
def test_deployment_files_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(ROOT / "docker" / name))
    deployment = load_deployment()
    assert deployment.mlflow == "http://mlflow:5000"
    assert deployment.storage == ("s3://open-images/storage" if "s3" in name else "/data/storage")
    assert deployment.roots == ("/data",)


def test_secrets_are_ignored_by_git_and_stay_out_of_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_image_holds_what_the_project_pins() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    uv = re.search(r'UV_VERSION = "(.+)"', (ROOT / "scripts" / "setup.py").read_text())
    assert uv
    assert f"uv=={uv[1]}" in dockerfile
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in dockerfile.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_image_has_the_groups_of_the_project() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert set(re.findall(r"--group (\w+)", (ROOT / "Dockerfile").read_text())) <= set(groups)
