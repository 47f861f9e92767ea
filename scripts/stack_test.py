"""Test the workflow on real servers: `make stack-test`.

Starts HDFS and YARN, and the services of docker-compose.yaml with their S3 store, as processes, and runs the training,
a bulk prediction and a promotion there. It first installs and fetches what the servers need. The tests then run in
namespaces of their own: nothing that they start can be reached from outside, and nothing outside from them.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import apt_packages  # noqa: E402
import compose_files  # noqa: E402
import pack_environment  # noqa: E402
from ml.environment import job_environment  # noqa: E402
from ml.object_store import EXCLUDED, PACKAGES  # noqa: E402

TOOLS = ROOT / ".tools"
HADOOP, STORE, IVY, WORKERS = TOOLS / "hadoop", TOOLS / "store", TOOLS / "ivy", TOOLS / "workers.tar.gz"
APT = ("postgresql", "maven", "golang-go", "iproute2", "wget")
# With one for processes too, nothing outlives the tests, however they end.
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def main() -> None:
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        sys.exit("stack-test: skipped: this system lets no process make namespaces of its own. It needs root on Linux.")
    apt_packages.main(list(APT))
    fetch_hadoop()
    build_store()
    fetch_packages()
    pack_workers()
    tests = [sys.executable, "-m", "pytest", "-n0", "-m", "stack", *(sys.argv[1:] or ["tests/stack"])]
    os.execvp(NAMESPACES[0], [*NAMESPACES, "sh", "-ec", 'ip link set lo up && exec "$@"', "sh", *tests])


def pack_workers() -> None:
    """Pack the environment of executors that do not see this project, unless the lock file has not changed."""
    locked = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))).hexdigest()
    note = WORKERS.with_suffix(".lock")
    if WORKERS.exists() and note.exists() and note.read_text() == locked:
        return
    print("Packing the environment of executors (240 MB) ...", flush=True)
    pack_environment.pack(str(WORKERS))
    note.write_text(locked)


def fetch_hadoop() -> None:
    """Fetch the jars of Hadoop's daemons from Maven's repository."""
    jars, partial = HADOOP / "lib", HADOOP / "partial"
    if jars.is_dir():
        return
    print("Fetching Hadoop (98 MB) ...", flush=True)
    pom = ROOT / "tests" / "support" / "hadoop_pom.xml"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    subprocess.run(command, check=True)
    partial.rename(jars)


def build_store() -> None:
    """Build the S3 store of docker-compose.yaml, in the version of its image."""
    image = compose_files.load(ROOT, (ROOT / compose_files.MAIN,), "s3").services["store"].image
    version = image.rpartition(":")[2]
    if (STORE / version / "versitygw").exists():
        return
    print(f"Building the S3 store {image} ...", flush=True)
    partial = STORE / f"{version}.partial"
    package = re.sub(r"^versity/versitygw:(.*)$", r"github.com/versity/versitygw/cmd/versitygw@\1", image)
    subprocess.run(["go", "install", package], env={**os.environ, "GOBIN": str(partial)}, check=True)
    partial.rename(STORE / version)


def fetch_packages() -> None:
    """Fetch Spark's packages for S3, by a job that does nothing else."""
    if (IVY / "fetched").exists():
        return
    print("Fetching Spark's packages for S3 (19 MB) ...", flush=True)
    IVY.mkdir(parents=True, exist_ok=True)
    job = IVY / "nothing.py"
    job.write_text("")
    options = ["--packages", ",".join(PACKAGES), "--exclude-packages", EXCLUDED, "--conf", f"spark.jars.ivy={IVY}"]
    subprocess.run(["spark-submit", *options, str(job)], env={**os.environ, **job_environment()}, check=True)
    (IVY / "fetched").touch()


if __name__ == "__main__":
    main()
