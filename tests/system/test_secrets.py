"""Secrets planted wherever one enters a run are found in nothing that it leaves: log, database, storage, pages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from airflow_environment import environment, migrate
from support.airflow_root import ROOT, SMALL, make_root

SECRETS = {
    place: f"PLANTED{number}x8Qz"
    for number, place in enumerate(("environment", "token", "password", "extra", "notify", "login"), start=10)
}
# With the logging that the supervisor of each task has in a real Airflow: `dag.test()` alone masks nothing.
RUN = """
import json, sys
import airflow.settings
from airflow.sdk.log import configure_logging
from demo import run_dag
configure_logging()
state, run_id = run_dag(json.loads(sys.argv[1]))
print("state:", state)
"""
SUBMIT = """\
#!/bin/sh
env > "{seen}"
env
echo "submitted: $*"
exec "{real}" "$@"
"""


@pytest.fixture(scope="module")
def whole(sample_release, tmp_path_factory):
    """Run the training flow with secrets in its environment, connections and job; return its folder and output."""
    folder = tmp_path_factory.mktemp("secrets")
    root, seen, stub = folder / "root", folder / "seen.txt", folder / "bin" / "spark-submit"
    make_root(root, sample_release)
    file = root / "var" / "deployment.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "notify": "chat"}))
    migrate(root)
    stub.parent.mkdir()
    real = Path(sys.executable).with_name("spark-submit")
    stub.write_text(SUBMIT.format(seen=seen, real=real))
    stub.chmod(0o755)
    own = environment(root)
    spark = json.loads(own["AIRFLOW_CONN_SPARK_DEFAULT"])
    spark |= {"password": SECRETS["password"], "login": "someone"}
    spark["extra"] = {**spark.get("extra", {}), "secret_key": SECRETS["extra"]}
    planted = {
        "AWS_SECRET_ACCESS_KEY": SECRETS["environment"],
        "DOWNLOAD_TOKEN": SECRETS["token"],
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
        "AIRFLOW_CONN_CHAT": json.dumps({"conn_type": "http", "host": "127.0.0.1:9", "password": SECRETS["notify"]}),
        "AIRFLOW_CONN_STORE": f"aws://key:{SECRETS['login']}@/",
    }
    path = os.pathsep.join([str(stub.parent), own.get("PATH", os.environ["PATH"])])
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(SMALL)],
        env={
            **os.environ,
            **own,
            **planted,
            "PATH": path,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert "state: success" in done.stdout, done.stdout[-8000:]
    assert "submitted: --master" in done.stdout
    yield root, seen.read_text(), done.stdout
    shutil.rmtree(root)


@pytest.mark.slow
def test_the_secrets_reached_the_job(whole):
    _, seen, _ = whole
    assert [place for place, secret in SECRETS.items() if secret not in seen] == []


@pytest.mark.slow
def test_no_secret_is_in_the_tasks_log(whole):
    _, _, log = whole
    assert [line for line in log.splitlines() if any(secret in line for secret in SECRETS.values())] == []


@pytest.mark.slow
def test_no_secret_is_in_what_the_run_leaves(whole):
    """Airflow's database holds rendered templates, XCom and parameters; the storage manifests, pages and MLflow."""
    root, _, _ = whole
    files = [file for file in (root / "var").rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"airflow.db", "mlflow.db", "run.json", "manifest.json", "report.html", "explore.html"} <= names
    found = {
        (str(file.relative_to(root)), place)
        for file in files
        for place, secret in SECRETS.items()
        if secret.encode() in file.read_bytes()
    }
    assert found == set()


def test_an_error_keeps_no_secret(opened, monkeypatch):
    """`error.json` is shown on the report page."""
    from ml import storage
    from ml.flow.table import STAGES
    from ml.workflow.execution import attempt_uri, run_stage
    from ml.workflow.layout import error_uri

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["environment"])
    run, extract = opened(), STAGES["extract"]

    def body(context):
        raise OSError(f"PUT https://key:{SECRETS['login']}@store/x with {SECRETS['environment']} was refused")

    with pytest.raises(Exception, match="refused"):
        run_stage(run, extract, body, attempt="20260101T000000-aaaaaaaa")
    content = storage.read_bytes(error_uri(attempt_uri(run, extract, "20260101T000000-aaaaaaaa"))).decode()
    assert "was refused" in json.loads(content)["message"]
    assert "https://***@store/x with ***" in content
    assert not [secret for secret in SECRETS.values() if secret in content]
