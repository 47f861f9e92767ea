"""What an Airflow connection of type Spark says about the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from ml.errors import ConfigurationError


@dataclass(frozen=True)
class SparkCluster:
    """A Spark master and where its drivers run.

    Attributes:
        master: As spark-submit has it: `local[2]`, `spark://host`, `yarn`, `k8s://...`.
        in_cluster: Whether drivers run in the cluster and not on the machine that submits.
        has_yarn_page: Whether the connection has the address of YARN's ResourceManager.
    """

    master: str
    in_cluster: bool
    has_yarn_page: bool

    @property
    def is_local(self) -> bool:
        """Whether the driver is the only process."""
        return self.master.startswith("local")

    @property
    def is_yarn(self) -> bool:
        """Whether the cluster is YARN's."""
        return self.master == "yarn"


def find_cluster(conn_id: str) -> SparkCluster:
    """Return the cluster of a connection.

    Raises:
        ConfigurationError: The connection does not exist. The hook would fall back to `yarn` without a word.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"The connection {conn_id!r} does not exist.",
            "Create it with type Spark and your master as host, or set AIRFLOW_CONN_SPARK_DEFAULT.",
        ) from error
    extra = connection.extra_dejson
    return SparkCluster(
        master=connection.host or "",
        in_cluster=extra.get("deploy-mode") == "cluster",
        has_yarn_page=bool(extra.get("yarn_resourcemanager_webapp_address")),
    )
