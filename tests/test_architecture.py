"""Arrows point down: dags -> plugins -> spark_jobs -> ml; and workers load nothing heavy."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DAGS = {f"open_images_{name}" for name in ("training", "prediction", "landing", "promotion", "maintenance")}
FLOORS = {
    "ml": {"spark_jobs", "open_images", *DAGS, "pyspark", "airflow"},
    "spark_jobs": {"open_images", *DAGS, "airflow", "tensorflow", "keras"},
    "plugins": {*DAGS, "pyspark", "tensorflow", "keras"},
    "dags": {"pyspark", "tensorflow", "keras", "cv2", "mlflow"},
}


def imported(file):
    """The top-level names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("floor", FLOORS)
def test_no_floor_imports_one_above_it(floor):
    for file in (ROOT / floor).rglob("*.py"):
        assert not FLOORS[floor] & set(imported(file)), file


def modules_after(code):
    """The modules loaded in a fresh Python that ran some code."""
    script = f"{code}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "module", ["ml.vision.images", "ml.workflow.execution", "ml.workflow.run", "ml.guards", "ml.prediction.predictor"]
)
def test_what_spark_workers_import_loads_no_tensorflow(module):
    assert not {"tensorflow", "keras", "pyspark", "airflow"} & modules_after(f"import {module}")


def test_the_packages_that_share_files_are_pinned_as_they_must_be():
    versions = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert versions["pyspark"] == versions["pyspark-client"]
    assert "opencv-python-headless" in versions
    assert not {"opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"} & set(versions)
