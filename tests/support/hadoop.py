"""A NameNode, a DataNode, a ResourceManager and a NodeManager: Hadoop's own daemons, one process each, on loopback.

scripts/stack_test.py fetches their jars.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx

import stack_test
from ml.java import java_home
from support.daemons import Daemon, free_ports, listens, started

HDFS, YARN = "org.apache.hadoop.hdfs.server", "org.apache.hadoop.yarn.server"
USER = "root"  # of the files in HDFS; any name will do without Kerberos
# Runs its arguments where the folder $HIDDEN is empty, as it is on a machine without this project.
HIDE = 'mount -t tmpfs none "$HIDDEN" && exec "$@"'


@dataclass(frozen=True)
class Hadoop:
    """A running HDFS and YARN.

    Attributes:
        root: URI of the file system.
        conf: The folder that HADOOP_CONF_DIR names.
        page: Address of the ResourceManager's pages and REST API.
        logs: What containers print, by application.
        daemons: The daemons by name: namenode, datanode, resourcemanager, nodemanager.
    """

    root: str
    conf: Path
    page: str
    logs: Path
    daemons: Mapping[str, Daemon]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client finds it."""
        return {"HADOOP_CONF_DIR": str(self.conf), "HADOOP_USER_NAME": USER}

    def applications(self) -> list[dict[str, str]]:
        """Return what the ResourceManager tells of its applications."""
        found = _asked(f"{self.page}/ws/v1/cluster/apps").get("apps")
        return list(found["app"]) if found else []

    def running(self) -> set[str]:
        """Return the ids of the applications that run."""
        return {app["id"] for app in self.applications() if app["state"] == "RUNNING"}

    def told(self) -> str:
        """Return the end of what each container of the newest application printed."""
        folders = sorted(self.logs.glob("application_*"))
        files = sorted(folders[-1].glob("*/std*")) if folders else []
        return "\n".join(f"--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


def _asked(page: str) -> dict[str, Any]:
    """Return what a page tells as JSON, or nothing while it does not answer: a port listens before its page does."""
    try:
        return dict(httpx.get(page, trust_env=False, timeout=10).json())
    except (httpx.HTTPError, ValueError):
        return {}


@contextlib.contextmanager
def hadoop(folder: Path, hidden: Path | None = None) -> Iterator[Hadoop]:
    """Start the daemons in a folder, and end them.

    Args:
        folder: For their files; must be outside of `hidden`.
        hidden: A folder that containers cannot see.
    """
    jars, conf, logs = stack_test.HADOOP / "lib", folder / "conf", folder / "logs"
    ports = free_ports(12)
    _configure(conf, folder, ports)
    if hidden is not None:  # the NodeManager's own jars lie in the project
        jars = Path(shutil.copytree(jars, folder / "lib", copy_function=os.link))
    java = [str(java_home() / "bin" / "java"), "-Xmx300m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    java += [f"-Dyarn.log.dir={logs}", f"-Dhadoop.log.dir={logs}", "-Djava.net.preferIPv4Stack=true"]
    java += ["-cp", f"{conf}:{jars}/*"]
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    variables |= {"JAVA_HOME": str(java_home()), "HADOOP_USER_NAME": USER, "HADOOP_CONF_DIR": str(conf)}
    hide = [] if hidden is None else ["unshare", "--mount", "sh", "-c", HIDE, "sh"]
    name_node, name_page, *_, page = ports
    running = Hadoop(f"hdfs://127.0.0.1:{name_node}", conf, f"http://127.0.0.1:{page}", logs / "containers", {})

    def active_nodes() -> bool:
        told = _asked(f"{running.page}/ws/v1/cluster/metrics")
        return bool(told) and bool(told["clusterMetrics"]["activeNodes"])

    def live_data() -> bool:
        query = f"http://127.0.0.1:{name_page}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        beans = _asked(query).get("beans")  # none while the NameNode starts
        return bool(beans) and bool(beans[0]["NumLiveDataNodes"])

    mains = {
        "namenode": (f"{HDFS}.namenode.NameNode", lambda: listens(name_node) and listens(name_page)),
        "datanode": (f"{HDFS}.datanode.DataNode", live_data),
        "resourcemanager": (f"{YARN}.resourcemanager.ResourceManager", lambda: listens(page)),
        "nodemanager": (f"{YARN}.nodemanager.NodeManager", active_nodes),
    }
    subprocess.run(
        [*java, mains["namenode"][0], "-format", "-force"], env=variables, check=True, capture_output=True, timeout=300
    )
    daemons = {
        name: Daemon(
            name,
            [*(hide if name == "nodemanager" else []), *java, main],
            {**variables, **({"HIDDEN": str(hidden)} if hidden else {})},
            folder / f"{name}.log",
            ready,
        )
        for name, (main, ready) in mains.items()
    }
    with started(*daemons.values()):
        yield Hadoop(running.root, conf, running.page, running.logs, daemons)


def _configure(conf: Path, folder: Path, ports: list[int]) -> None:
    for name in ("hdfs", "datanode", "static"):
        (conf / "webapps" / name).mkdir(parents=True)
    name_node, name_page, data, data_page, data_ipc, scheduler, tracker, admin, node, localizer, node_page, page = (
        f"127.0.0.1:{port}" for port in ports
    )
    files = {
        "core-site.xml": {"fs.defaultFS": f"hdfs://{name_node}", "hadoop.tmp.dir": folder / "tmp"},
        "hdfs-site.xml": {
            "dfs.replication": 1,
            "dfs.namenode.rpc-address": name_node,
            "dfs.namenode.http-address": name_page,
            "dfs.datanode.address": data,
            "dfs.datanode.http.address": data_page,
            "dfs.datanode.ipc.address": data_ipc,
            "dfs.datanode.hostname": "127.0.0.1",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.permissions.enabled": "true",
            "dfs.namenode.safemode.extension": 1000,
            "dfs.heartbeat.interval": 1,
        },
        "yarn-site.xml": {
            "yarn.resourcemanager.hostname": "127.0.0.1",
            "yarn.resourcemanager.address": f"127.0.0.1:{free_ports(1)[0]}",
            "yarn.resourcemanager.scheduler.address": scheduler,
            "yarn.resourcemanager.resource-tracker.address": tracker,
            "yarn.resourcemanager.admin.address": admin,
            "yarn.resourcemanager.webapp.address": page,
            "yarn.nodemanager.hostname": "127.0.0.1",
            "yarn.nodemanager.address": node,
            "yarn.nodemanager.localizer.address": localizer,
            "yarn.nodemanager.webapp.address": node_page,
            "yarn.nodemanager.log-dirs": folder / "logs" / "containers",
            "yarn.nodemanager.delete.debug-delay-sec": 600,
            "yarn.nodemanager.resource.memory-mb": 8192,
            "yarn.nodemanager.resource.cpu-vcores": 4,
            "yarn.scheduler.minimum-allocation-mb": 256,
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 99,
        },
        "capacity-scheduler.xml": {
            "yarn.scheduler.capacity.root.queues": "default,training",
            "yarn.scheduler.capacity.root.default.capacity": 50,
            "yarn.scheduler.capacity.root.default.maximum-capacity": 100,
            "yarn.scheduler.capacity.root.training.capacity": 50,
            "yarn.scheduler.capacity.root.training.maximum-capacity": 100,
            "yarn.scheduler.capacity.root.training.user-limit-factor": 2,
            "yarn.scheduler.capacity.maximum-am-resource-percent": 0.5,
        },
    }
    for name, values in files.items():
        rows = "".join(
            f"<property><name>{key}</name><value>{escape(str(value))}</value></property>"
            for key, value in values.items()
        )
        (conf / name).write_text(f"<configuration>{rows}</configuration>")
