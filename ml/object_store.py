"""The object store that the AWS variables of the environment describe: whether it answers, and Spark's settings for it.

Keys stay in the environment: botocore reads them there, Spark's driver hands them to s3a, and `WORKER_VARIABLES` go to
Spark's executors. They never stand on a command line.
"""

from __future__ import annotations

import functools
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

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
