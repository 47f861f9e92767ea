"""Docker Compose's own library loads the files: each profile, each override. A planted error is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compose_files import stacks

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(__file__).resolve().parent / "support" / "compose_loader"
MAIN, GPU = "docker-compose.yaml", "docker-compose.gpu.yaml"
BUILD_SECONDS = 600

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def loader() -> Path:
    """The loader, built from its pinned sources once and kept in `.tools`."""
    if not (go := shutil.which("go")):
        pytest.skip("Go is not installed; it builds the loader of compose files")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))).hexdigest()
    program = ROOT / ".tools" / f"compose-loader-{digest[:12]}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        fresh = program.with_name(f"{program.name}.{os.getpid()}")
        command = [go, "build", "-trimpath", "-o", str(fresh), "."]
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stderr
        fresh.replace(program)
    return program


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files, with a `.env` from `make env`."""
    for name in (MAIN, GPU, ".env.example", "Makefile", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "make_env.py", tmp_path / "scripts")
    subprocess.run(["make", "env"], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def load(loader: Path, project: Path, files: tuple[str, ...], profile: str = "") -> subprocess.CompletedProcess[str]:
    variables = dict(line.split("=", 1) for line in (project / ".env").read_text().splitlines() if line[:1].isalpha())
    environment = {"PATH": os.environ["PATH"], **variables, "COMPOSE_PROFILES": profile}
    return subprocess.run([loader, *files], cwd=project, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("profile", ["", "s3"])
@pytest.mark.parametrize("files", [(MAIN,), (MAIN, GPU)])
def test_the_files_are_loaded(loader: Path, project: Path, files: tuple[str, ...], profile: str) -> None:
    done = load(loader, project, files, profile)
    assert done.returncode == 0, done.stderr
    services: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    assert ({"store", "store-volume", "bucket"} <= set(services)) is (profile == "s3")
    scheduler = services["scheduler"]
    suffix = "-s3" if profile else ""
    assert scheduler["environment"]["OPEN_IMAGES_CONFIG"].endswith(f"/docker/deployment{suffix}.yaml")
    assert json.loads(scheduler["environment"]["AIRFLOW_CONN_OBJECT_STORE"])["extra"]["region_name"] == "us-east-1"
    assert ("reservations" in scheduler["deploy"]["resources"]) is (GPU in files)


def test_the_static_check_reads_the_files_as_docker_compose_does(loader: Path, project: Path) -> None:
    settings = [(profile, files) for profile in ("", "s3") for files in ((MAIN,), (MAIN, GPU))]
    for (profile, files), stack in zip(settings, stacks(project), strict=True):
        for name, service in json.loads(load(loader, project, files, profile).stdout)["services"].items():
            mine = stack.services[name]
            assert mine.image == service["image"]
            assert list(mine.command) == (service["command"] or [])
            assert [mount.target for mount in mine.mounts] == [
                volume["target"] for volume in service.get("volumes", [])
            ]
            assert set(mine.environment) == set(service.get("environment", {}))
            assert set(mine.waits) >= set(service.get("depends_on", {}))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("healthcheck:", "healthchek:", "healthchek"),
        ("condition: service_healthy", "condition: service_helthy", "condition"),
        ("      spark-master:\n        cond", "      spark-mastr:\n        cond", "spark-mastr"),
        ("- storage:/data", "- storag:/data", "storag"),
        ("        required: false", "        required: true", "bucket"),
        ("interval: 30s", "interval: half a minute", "interval"),
        ("${S3_ACCESS_KEY:?", "${S3_ACCESS_KEI:?", "S3_ACCESS_KEI"),
    ],
)
def test_a_planted_error_is_refused(loader: Path, project: Path, right: str, wrong: str, said: str) -> None:
    text = (project / MAIN).read_text()
    assert right in text
    (project / MAIN).write_text(text.replace(right, wrong))
    done = load(loader, project, (MAIN, GPU))
    assert done.returncode != 0
    assert said in done.stderr
