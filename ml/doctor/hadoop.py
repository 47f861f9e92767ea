"""Checks of HDFS and YARN: the folder of settings, the NameNode, the user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from ml.config.deployment import Deployment
from ml.doctor.finding import Answer
from ml.environment import user_name

SETTINGS, SECONDS = "HADOOP_CONF_DIR", 5.0
DEPLOY = "docs/deploy/yarn.md says how."


def check_hadoop(deployment: Deployment) -> Answer:
    """Check what HDFS needs, if the deployment uses it, and what YARN needs, if its settings are there.

    Access itself is the check of the storage.
    """
    places = [uri for uri in (deployment.storage, deployment.defaults.release) if uri.startswith("hdfs://")]
    folder = os.environ.get(SETTINGS)
    if not places and not folder:
        return "ok", "not used", ""
    if not folder:
        return "fault", f"{SETTINGS} is not set, so neither HDFS nor YARN is found", f"Set it. {DEPLOY}"
    core = Path(folder, "core-site.xml")
    try:
        settings = _properties(core)
    except (OSError, ElementTree.ParseError) as error:
        return "fault", f"{SETTINGS}: {core} cannot be read: {error}", f"Copy the cluster's settings there. {DEPLOY}"
    for uri in places:
        parts = urlsplit(uri)
        # A name without a port may be one of a pair of NameNodes, which only the settings know.
        if parts.port and not _answers(parts.hostname or "", parts.port):
            return "fault", f"no NameNode answers at {parts.netloc}", "Check the address and whether HDFS runs."
    user = os.environ.get("HADOOP_USER_NAME") or user_name()
    if settings.get("hadoop.security.authentication") == "kerberos":
        klist = shutil.which("klist")
        if klist is None or subprocess.run([klist, "-s"], check=False).returncode:
            return "fault", "the cluster wants Kerberos, and there is no valid ticket", f"Run kinit. {DEPLOY}"
        return "ok", f"settings in {folder}, with Kerberos", ""
    return "ok", f"settings in {folder}, as user {user}", ""


def _properties(path: Path) -> dict[str, str]:
    found = ElementTree.fromstring(path.read_bytes()).iter("property")
    return {each.findtext("name", ""): each.findtext("value", "") for each in found}


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return True
    except OSError:
        return False
