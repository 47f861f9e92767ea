"""Secrets planted wherever one enters a run: environment, connections, and what a job prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

SECRETS = {
    place: f"PLANTED{number}x8Qz"
    for number, place in enumerate(("environment", "token", "password", "extra", "notify", "login"), start=10)
}
SUBMIT = """\
#!/bin/sh
env > "{seen}"
env
echo "submitted: $*"
exec "{real}" "$@"
"""


def planted(root: Path, own: Mapping[str, str], seen: Path) -> dict[str, str]:
    """Plant each secret in an Airflow root, and return the variables that hold them.

    Args:
        root: The Airflow root, whose deployment file gets a connection for notifications.
        own: The variables of that Airflow.
        seen: A file to which spark-submit writes its environment, which it also prints.
    """
    file = root / "var" / "deployment.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "notify": "chat"}))
    spy = root / "bin" / "spark-submit"
    spy.parent.mkdir()
    spy.write_text(SUBMIT.format(seen=seen, real=Path(sys.executable).with_name("spark-submit")))
    spy.chmod(0o755)
    spark = json.loads(own["AIRFLOW_CONN_SPARK_DEFAULT"])
    spark |= {"password": SECRETS["password"], "login": "someone"}
    spark["extra"] = {**spark.get("extra", {}), "secret_key": SECRETS["extra"]}
    return {
        "AWS_SECRET_ACCESS_KEY": SECRETS["environment"],
        "DOWNLOAD_TOKEN": SECRETS["token"],
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
        "AIRFLOW_CONN_CHAT": json.dumps({"conn_type": "http", "host": "127.0.0.1:9", "password": SECRETS["notify"]}),
        "AIRFLOW_CONN_STORE": f"aws://key:{SECRETS['login']}@/",
        "PATH": os.pathsep.join([str(spy.parent), own.get("PATH", os.environ["PATH"])]),
    }
