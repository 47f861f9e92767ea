"""Settings with which Spark's s3a finds the object store that the AWS variables of the environment describe.

Keys stay in the environment: botocore reads them there, Spark's driver hands them to s3a, and `WORKER_VARIABLES` go to
Spark's executors. They never stand on a command line.
"""

from __future__ import annotations

from collections.abc import Mapping

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
