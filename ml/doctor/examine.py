"""Run all checks of the machine concurrently, each with a time limit."""

from __future__ import annotations

import os
import threading
import time

from ml.config.deployment import DEPLOYMENT_VARIABLE, Deployment, load_deployment
from ml.doctor.content_check import check_content
from ml.doctor.environment_checks import check_keras, check_locale, check_proxy, check_spark_home, check_user
from ml.doctor.finding import SECONDS, Check, Finding
from ml.doctor.hadoop import check_hadoop
from ml.doctor.java_spark import check_connection, check_java
from ml.doctor.python_checks import check_detector, check_packages, check_python, check_tensorflow
from ml.doctor.services import check_mlflow, check_ports
from ml.doctor.storage_checks import check_disk, check_release, check_storage
from ml.errors import StageError


def examine(full: bool = False, seconds: float = SECONDS) -> list[Finding]:
    """Run all checks concurrently.

    Args:
        full: Also import TensorFlow and the face detector, and compare the content of repeated attempts, which takes a
            while.
        seconds: Time limit of the checks.
    """
    checks: dict[str, Check] = {
        "Python": check_python,
        "packages": check_packages,
        "user": check_user,
        "locale": check_locale,
        "proxy": check_proxy,
        "Java": check_java,
        "Spark": check_spark_home,
        "Spark connection": check_connection,
        "Keras": check_keras,
        "detector": check_detector,
        "ports": check_ports,
    }
    if full:
        checks["TensorFlow"] = check_tensorflow
    try:
        deployment = load_deployment()
    except StageError as error:
        advice = f"{error.advice} `make demo` and `make up` write a deployment file of their own."
        first = Finding(check="deployment", state="fault", found=error.message, advice=advice)
    else:
        first = _deployment(deployment)
        checks |= {
            "storage": lambda: check_storage(deployment.storage),
            "disk": lambda: check_disk(deployment.storage),
            "release": lambda: check_release(deployment),
            "Hadoop": lambda: check_hadoop(deployment),
            "MLflow": lambda: check_mlflow(deployment.storage),
        }
        if full:
            checks["content"] = lambda: check_content(deployment.storage)
    return [first, *_all_at_once(checks, seconds)]


def _all_at_once(checks: dict[str, Check], seconds: float) -> list[Finding]:
    found: dict[str, Finding] = {}

    def run(name: str, check: Check) -> None:
        found[name] = _run_check(name, check)

    # Daemon threads: a check that hangs on a dead disk or server delays neither the findings nor the exit.
    threads = {name: threading.Thread(target=run, args=(name, check), daemon=True) for name, check in checks.items()}
    for thread in threads.values():
        thread.start()
    findings = []
    deadline = time.monotonic() + seconds
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        late = Finding(
            check=name,
            state="fault",
            found=f"no answer in {seconds:g} s",
            advice="Look for a disk or server that hangs.",
        )
        findings.append(found.get(name, late))
    return findings


def _run_check(name: str, check: Check) -> Finding:
    """Run one check; an error in it becomes a finding, so the other checks still report theirs."""
    try:
        state, found, advice = check()
    except StageError as error:
        return Finding(check=name, state="fault", found=error.message, advice=error.advice)
    except Exception as error:  # a check may fail in any way
        message = f"{type(error).__name__}: {error}"
        return Finding(check=name, state="fault", found=message, advice="The check failed unexpectedly. See its error.")
    return Finding(check=name, state=state, found=found, advice=advice)


def _deployment(deployment: Deployment) -> Finding:
    named = os.environ.get(DEPLOYMENT_VARIABLE)
    if named:
        return Finding(check="deployment", state="ok", found=f"{named}, with storage {deployment.storage}")
    return Finding(
        check="deployment",
        state="warning",
        found=f"{DEPLOYMENT_VARIABLE} is not set: storage {deployment.storage}, release {deployment.defaults.release}",
        advice='Set it to your YAML file. For the file of `make up`: eval "$(python scripts/local_airflow.py env)"',
    )
