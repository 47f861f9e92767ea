"""The object store that the AWS variables of the environment describe: whether it answers, and Spark's settings for it.

Keys stay in the environment: botocore reads them there, Spark's driver hands them to s3a, and `WORKER_VARIABLES` go to
Spark's executors. They never stand on a command line. Airflow's tasks set the variables from an Airflow connection;
commands in a shell do the same if the connection is in their environment.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ml.errors import ConfigurationError, TransientError

ENDPOINT = "AWS_ENDPOINT_URL"
REGION = "AWS_DEFAULT_REGION"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
WORKER_VARIABLES = (*KEYS, ENDPOINT, REGION)  # for the Python workers, which write through s3fs
# 19 MB instead of the 686 MB of the whole AWS SDK. hadoop-aws has the version of Hadoop that pyspark was built with.
PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.5.0",
    "software.amazon.awssdk:s3:2.35.4",
    "software.amazon.awssdk:s3-transfer-manager:2.35.4",
    "software.amazon.awssdk:sts:2.35.4",
)
EXCLUDED = "software.amazon.awssdk:bundle"
# s3a by itself tries an endpoint that does not answer for three minutes. Throttling (503) has its own, longer limits.
PATIENCE = {
    "spark.hadoop.fs.s3a.attempts.maximum": "3",
    "spark.hadoop.fs.s3a.retry.limit": "2",
    "spark.hadoop.fs.s3a.retry.interval": "500ms",
    "spark.hadoop.fs.s3a.connection.establish.timeout": "5s",
}


ANSWER_SECONDS = 10.0  # to connect, and again to answer


@functools.cache  # of answers only: an error is not kept
def check_endpoint(endpoint: str) -> None:
    """Check that a server answers at the endpoint, whatever it answers.

    The clients of S3 try again for minutes before they report that nobody does.

    Args:
        endpoint: Its URL.

    Raises:
        ConfigurationError: It is no http(s) URL.
        TransientError: Nothing answers.
    """
    parts = urlsplit(endpoint)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ConfigurationError(
            f"{ENDPOINT} is {endpoint!r}, not an http(s) address.", "Correct the extra of the Airflow connection."
        )
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(
            f"The object store at {endpoint} does not answer: {error or type(error).__name__}.",
            f"Check the server, and the address in {ENDPOINT} or in the Airflow connection.",
        ) from error
    finally:
        connection.close()


def variables_of(login: str | None, password: str | None, extra: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for an Airflow connection of type Amazon Web Services; empty where it says nothing."""
    values = dict(zip(KEYS, (login, password, extra.get("aws_session_token")), strict=True))
    values |= {ENDPOINT: extra.get("endpoint_url"), REGION: extra.get("region_name")}
    return {name: value or "" for name, value in values.items()}


def use_connection(name: str) -> None:
    """Set the variables from the Airflow connection in this process's environment, if it is there.

    Keys that are set win: Airflow's tasks set them from the connection before they start a command.

    Args:
        name: The connection's name; the variable is `AIRFLOW_CONN_<NAME>`.

    Raises:
        ConfigurationError: The variable holds no connection.
    """
    variable = f"AIRFLOW_CONN_{name.upper()}"
    text = os.environ.get(variable, "").strip()
    if not text or any(map(os.environ.get, KEYS)):
        return
    try:
        found = _of_json(text) if text.startswith("{") else _of_uri(text)
    except (ValueError, AttributeError):  # whose message may hold a key
        raise ConfigurationError(
            f"{variable} holds no Airflow connection.", "Correct it: JSON, or aws://<key>:<secret>@?endpoint_url=..."
        ) from None
    os.environ |= {each: value for each, value in found.items() if value}


def _of_json(text: str) -> dict[str, str]:
    content = json.loads(text)
    extra = content.get("extra") or {}
    return variables_of(
        content.get("login"), content.get("password"), json.loads(extra) if isinstance(extra, str) else extra
    )


def _of_uri(text: str) -> dict[str, str]:
    uri = urlsplit(text)
    query = dict(parse_qsl(uri.query))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else query
    return variables_of(unquote(uri.username or ""), unquote(uri.password or ""), extra)


def spark_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of Spark for S3, without keys: packages, limits, and the endpoint if there is one."""
    settings = {"spark.jars.packages": ",".join(PACKAGES), "spark.jars.excludes": EXCLUDED, **PATIENCE}
    if endpoint := environment.get(ENDPOINT):
        settings |= {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": environment.get(REGION, "us-east-1"),
            # Other stores than Amazon's have no host name for each bucket.
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https://")).lower(),
        }
    return settings


def executor_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that give Spark's executors the variables of the object store, keys included."""
    return {f"spark.executorEnv.{name}": environment[name] for name in WORKER_VARIABLES if environment.get(name)}
