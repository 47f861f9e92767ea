"""A Spark stage succeeds in an environment that suits other programs: a space, no UTF-8, other Spark and Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ml.workflow.opening import open_run
from ml.workflow.run import load_run
from support.airflow_root import ROOT, SPARK_CONF

pytestmark = pytest.mark.slow
TASK = """
import sys
from open_images.operators.spark import SparkStageOperator
SparkStageOperator(task_id="extract", stage="extract", run=sys.argv[1]).execute({})
"""


def test_a_task_of_a_project_in_an_odd_folder_and_an_odd_environment(sample_release, tmp_path):
    odd = tmp_path / "größe a b"
    odd.mkdir()
    # The project's own environment, as it would be in a folder with a space.
    environment = odd / ".venv"
    environment.symlink_to(sys.prefix)
    (odd / "release").symlink_to(sample_release)
    (odd / "deployment.yaml").write_text(json.dumps({"storage": str(odd / "storage"), "spark_conf": SPARK_CONF}))
    run = open_run(str(odd / "storage"), "run", {"release": str(odd / "release")})
    unset = {"LANG", "LC_CTYPE", "PYTHONUTF8", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"}
    variables = {name: value for name, value in os.environ.items() if name not in unset} | {
        "SPARK_HOME": "/opt/spark-3.5",
        "PATH": f"/opt/spark-3.5/bin:{os.environ['PATH']}",
        "LC_ALL": "C",
        "KERAS_BACKEND": "torch",
        "http_proxy": "http://127.0.0.1:9",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        "AIRFLOW_HOME": str(odd / "airflow"),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[1]"}),
        "OPEN_IMAGES_CONFIG": str(odd / "deployment.yaml"),
    }
    command = [str(environment / "bin" / "python"), "-c", TASK, run.uri]
    done = subprocess.run(command, env=variables, cwd=odd, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert load_run(run.uri).pinned("extract").rows("images") > 0
