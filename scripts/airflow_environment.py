"""Prepare Airflow to run on this machine: environment variables, its database, a deployment file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from airflow_home import USER, airflow_home, kept_secrets, passwords_file, recorded
from ml.class_data import submit_environment
from ml.environment import check_environment, job_environment, without_proxy
from ml.errors import ResourceError
from ml.java import java_home
from ports import HOST, free_port

ROOT = Path(__file__).resolve().parent.parent
API_PORT = 8080
DATABASE_SECONDS = 60
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
LOCAL_NOTE = """\
# Default parameters of runs on this machine; edit them as you like. spark_conf suits the short jobs of a small release.
# For the whole data set, remove it and set spark.driver.memory instead.
"""


def environment(root: Path, port: int | None = None) -> dict[str, str]:
    """Return the environment variables for Airflow on this machine, to add to `os.environ`.

    Args:
        root: The project's folder, or another one that holds `dags/` and `plugins/`.
        port: The API server's port. Defaults to that of the running Airflow, or else to a free one.

    Raises:
        ConfigurationError: There is no suitable Java, or the user's environment lets no Spark job run.
    """
    check_environment()
    if port is None:
        running = recorded(root)
        port = running.port if running else free_port(API_PORT)
    java = java_home()
    defaults = {
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client"}}
        ),
        "OPEN_IMAGES_CONFIG": str(root / "var" / "deployment.yaml"),
    }
    return {
        **_airflow_variables(root, f"http://{HOST}:{port}", port),
        "JAVA_HOME": str(java),
        # Driver and executors must run the same Python.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": HOST,
        **submit_environment(java),
        # Processes that Airflow renames keep their environment, so that `down` finds orphans by its mark.
        "SPT_NOENV": "1",
        **job_environment(),
        # Calls between Airflow's components bypass any proxy.
        **without_proxy((HOST, "localhost")),
        **{name: os.environ.get(name) or value for name, value in defaults.items()},
    }


def _airflow_variables(root: Path, url: str, port: int) -> dict[str, str]:
    home, secrets = airflow_home(root), kept_secrets(root)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Returns 127.0.0.1, from which logs are fetched, even after a laptop changes its network and name.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "urllib.request.localhost",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(root)),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.api_secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        # SQLite has one writer at a time. By default Python waits five seconds for it, too short on a busy disk:
        # the scheduler would exit.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout={DATABASE_SECONDS}",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
    }


def migrate(root: Path) -> None:
    """Create or upgrade Airflow's database if needed; the first time takes about 20 s.

    Raises:
        ResourceError: `airflow db migrate` failed.
    """
    home = airflow_home(root)
    stamp = home / "migrated-to"
    version = importlib.metadata.version("apache-airflow")
    if (home / "airflow.db").exists() and stamp.exists() and stamp.read_text() == version:
        return
    print("Creating Airflow's database, which takes about 20 s ...", flush=True)
    done = subprocess.run(
        ["airflow", "db", "migrate"],
        env={**os.environ, **environment(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        raise ResourceError("Airflow's database could not be created; see the output of `airflow db migrate` above.")
    stamp.write_text(version)


def ensure_deployment(root: Path) -> Path:
    """Write `var/deployment.yaml` and the drawn release that it names, if they are missing.

    Returns:
        The path of the deployment file.

    Raises:
        ResourceError: The release could not be drawn.
    """
    deployment = root / "var" / "deployment.yaml"
    release = root / "var" / "sample-release"
    if not deployment.exists():
        deployment.parent.mkdir(parents=True, exist_ok=True)
        # For the short jobs of a small release: no web page, few partitions, and plans interpreted instead of compiled,
        # which saves a sixth of each job's time (the compiler's classes are in a signed jar, which no class-data
        # archive may hold). The note in the file says what to change for a release of millions of rows.
        spark_conf = {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "8",
            "spark.log.level": "WARN",
            **INTERPRETED,
        }
        content = {
            "storage": str(root / "var" / "storage"),
            "release": str(release),
            "roots": ["/"],  # only the person who starts this Airflow has its password
            "prediction": {"photographs": str(release / "test")},  # so that the form's default exists
            "spark_conf": spark_conf,
        }
        deployment.write_text(LOCAL_NOTE + yaml.safe_dump(content))
    if yaml.safe_load(deployment.read_text()).get("release") == str(release) and not release.exists():
        print("Drawing a small release into var/sample-release ...", flush=True)
        done = subprocess.run([sys.executable, "-m", "ml", "sample-release", str(release)], cwd=ROOT)
        if done.returncode:
            raise ResourceError("The sample release could not be drawn; see the output above.")
    return deployment
