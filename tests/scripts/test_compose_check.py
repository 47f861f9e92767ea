"""Tests of `scripts/compose_check.py`: nothing is wrong with the files, and each kind of typo is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compose_check import check

ROOT = Path(__file__).resolve().parents[2]
MAIN, GPU, EXAMPLE, S3 = "docker-compose.yaml", "docker-compose.gpu.yaml", ".env.example", "docker/deployment-s3.yaml"
# Kind of typo: the file, what is right, what is written, a part of what is said about it.
TYPOS = {
    # services
    "service in an address": (MAIN, "http://api-server:8080/exec", "http://api-sever:8080/exec", "names api-sever,"),
    "service in a database's address": (MAIN, "@postgres/mlflow", "@postgre/mlflow", "mlflow names postgre,"),
    "service in a connection": (MAIN, '"spark://spark-master","port"', '"spark://spark-maste","port"', "spark-maste,"),
    "service in a connection's extra": (MAIN, '"endpoint_url":"http://store:', '"endpoint_url":"http://stor:', "stor,"),
    "service in a command": (MAIN, '"spark://spark-master:7077"', '"spark://spark-mastr:7077"', "names spark-mastr,"),
    "service in an option": (MAIN, "--host, spark-master", "--host, spark-mastre", "names spark-mastre,"),
    "service in a list of names": (MAIN, '--allowed-hosts, "mlflow:', '--allowed-hosts, "mlflw:', "names mlflw,"),
    "service in a health check": (MAIN, '.py", "http://api-server:', '.py", "http://apiserver:', "names apiserver,"),
    "service in a deployment file": (S3, "http://mlflow:5000", "http://mlfow:5000", "names mlfow,"),
    "service in an order": (
        MAIN,
        "      spark-master:\n        cond",
        "      spark-mater:\n        cond",
        "spark-mater",
    ),
    "service in an override": (GPU, "  scheduler:", "  schedular:", "schedular, which is no service of"),
    "hostname": (MAIN, "hostname: spark-master", "hostname: sparkmaster", "calls itself sparkmaster"),
    # variables
    "variable": (MAIN, "${S3_ACCESS_KEY:?", "${S3_ACESS_KEY:?", "has no variable S3_ACESS_KEY"),
    "variable in an override": (GPU, "${GPUS:-1}", "${GPU:-1}", "has no variable GPU"),
    "variable in the example": (
        EXAMPLE,
        "AIRFLOW_JWT_SECRET=",
        "AIRFLOW_JWT_SECRT=",
        "uses the variable AIRFLOW_JWT_SECRT",
    ),
    "default of a variable": (MAIN, "${SPARK_WORKER_MEMORY:-4g}", "${SPARK_WORKER_MEMORY:-5g}", "has the default 5g"),
    "option of Airflow": (MAIN, "AIRFLOW__CORE__PARALLELISM", "AIRFLOW__CORE__PARALELISM", "AIRFLOW__CORE__PARALELISM"),
    "variable of MLflow": (MAIN, "MLFLOW_BACKEND_STORE_URI", "MLFLOW_BACKEND_STORE_URL", "MLFLOW_BACKEND_STORE_URL"),
    "variable of the project": (
        MAIN,
        "OPEN_IMAGES_CONFIG:",
        "OPEN_IMAGE_CONFIG:",
        "reads the variable OPEN_IMAGE_CONFIG",
    ),
    "variable of PostgreSQL": (MAIN, "POSTGRES_DB:", "POSTGRES_DATABASE:", "reads the variable POSTGRES_DATABASE"),
    "variable of the store": (MAIN, "ROOT_SECRET_KEY:", "ROOT_SECRT_KEY:", "reads the variable ROOT_SECRT_KEY"),
    "variable that a script reads": (
        MAIN,
        "MLFLOW_DATABASE_PASSWORD: ",
        "MLFLOW_DB_PASSWORD: ",
        "reads MLFLOW_DATABASE_P",
    ),
    # ports
    "port in an address": (MAIN, "api-server:8080/exec", "api-server:8088/exec", "port 8088 of api-server"),
    "port in a connection": (MAIN, '"port":7077', '"port":7707', "port 7707 of spark-master"),
    "port in a connection's extra": (MAIN, 'http://store:9000",', 'http://store:9001",', "port 9001 of store"),
    "port in a health check": (MAIN, "127.0.0.1:8081/json", "127.0.0.1:8018/json", "127.0.0.1:8018, where nothing"),
    "port in another's health check": (
        MAIN,
        "//api-server:8080/api",
        "//api-server:8081/api",
        "port 8081 of api-server",
    ),
    "port of a program": (MAIN, '[--port, ":9000"', '[--port, ":9900"', "port 9000 of store"),
    "published port's target": (
        MAIN,
        '${MLFLOW_PORT:-5000}:5000"',
        '${MLFLOW_PORT:-5000}:5001"',
        "publishes its port 5001",
    ),
    "published address": (MAIN, "127.0.0.1:${S3_PORT", "0.0.0.0:${S3_PORT", "publishes a port on 0.0.0.0"),
    "port in a deployment file": (S3, "mlflow:5000", "mlflow:5050", "port 5050 of mlflow"),
    # volumes
    "volume": (MAIN, "- storage:/data", "- storag:/data", "the volume storag, which is not declared"),
    "declaration of a volume": (MAIN, "\n  mlflow:\n  store:", "\n  mlfow:\n  store:", "mounts the volume mlfow"),
    "folder of a volume": (MAIN, "airflow:/opt/airflow", "airflow:/opt/airflw", "on /opt/airflw, which its image"),
    "folder of PostgreSQL": (MAIN, "postgresql/data", "postgres/data", "on /var/lib/postgres/data, which its image"),
    "folder of the store": (MAIN, "store:/data/store", "store:/data/stor", "on /data/stor, which its image"),
    "folder in a command": (
        MAIN,
        "--work-dir, /scratch/work",
        "--work-dir, /scrach/work",
        "/scrach/work, which is on none",
    ),
    "folder in a variable": (
        MAIN,
        ": /opt/airflow/passwords",
        ": /opt/airflo/passwords",
        "/opt/airflo/passwords.json, which",
    ),
    "file of the project": (
        MAIN,
        "${RELEASE:-./var/sample-release}",
        "${RELEASE:-./sample-release}",
        "./sample-release",
    ),
    "folder in a deployment file": (S3, "/data/open-images", "/data/open-image", "/data/open-image, the release"),
    # images
    "image": (MAIN, "image: versity/versitygw:", "image: versity/versitygv:", "neither built here nor known"),
    "tag of an image": (MAIN, "postgres:16.10-bookworm", "postgres:16", "names no full version"),
    "no tag": (MAIN, "versitygw:v1.8.0", "versitygw", "names no full version"),
    "tag that differs": (
        MAIN,
        '    profiles: [s3]\n    command: ["true"]',
        '    profiles: [s3]\n    image: open-images-faces:2\n    command: ["true"]',
        "and another service",
    ),
    # profiles and order
    "required service of a profile": (
        MAIN,
        "        required: false",
        "        required: true",
        "scheduler requires bucket",
    ),
    "profile": (
        MAIN,
        "    profiles: [s3]\n    image: versity",
        "    profiles: [s33]\n    image: versity",
        "without the profile s33",
    ),
    "health that nobody checks": (
        MAIN,
        '      test: ["CMD", "pg_isready", "--username", "airflow"]\n',
        "",
        "the health of postgres",
    ),
    # programs and files
    "program": (MAIN, 'command: ["airflow", "triggerer"]', 'command: ["airflw", "triggerer"]', "no program airflw"),
    "component of Airflow": (
        MAIN,
        '["airflow", "dag-processor"]',
        '["airflow", "dag-procesor"]',
        "no component dag-procesor",
    ),
    "script": (MAIN, "docker/make_bucket.py", "docker/makebucket.py", "no file docker/makebucket.py"),
    "script of a health check": (
        MAIN,
        "docker/healthcheck.py",
        "docker/health_check.py",
        "no file docker/health_check.py",
    ),
    "component in a health check": (MAIN, '"dag_processor"]', '"dag-processor"]', "health page has no dag-processor"),
    "program of a health check": (MAIN, '"CMD", "pg_isready"', '"CMD", "pg_is_ready"', "no program pg_is_ready"),
    "class of Spark": (
        MAIN,
        "deploy.worker.Worker",
        "deploy.worker.Workr",
        "no class org.apache.spark.deploy.worker.Workr",
    ),
    "command of MLflow": (MAIN, "[mlflow, server,", "[mlflow, serve,", "mlflow has no command serve"),
    "deployment file": (
        MAIN,
        "${COMPOSE_PROFILES:+-s3}.yaml",
        "${COMPOSE_PROFILES:+_s3}.yaml",
        "deployment_s3.yaml, which is not",
    ),
    "bucket": (MAIN, ":+s3://open-images}", ":+s3://open-image}", "uses the bucket open-image,"),
    "bucket in a deployment file": (S3, "s3://open-images/", "s3://openimages/", "uses the bucket openimages,"),
    "connection in a deployment file": (
        S3,
        "object_store_connection: object_store",
        "object_store_connection: objectstore",
        "no connection objectstore",
    ),
    "connection": (MAIN, '{"conn_type":"aws",', '{"conn_type":"aws"', "a connection that is no JSON"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that the check reads."""
    for name in (MAIN, GPU, EXAMPLE, "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    return tmp_path


def test_the_files_agree() -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("kind", TYPOS)
def test_a_typo_is_found(project: Path, kind: str) -> None:
    name, right, wrong, said = TYPOS[kind]
    text = (project / name).read_text()
    assert right in text
    (project / name).write_text(text.replace(right, wrong))
    problems = check(project)
    assert any(said in problem for problem in problems), problems
