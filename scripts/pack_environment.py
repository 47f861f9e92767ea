"""Pack the Python environment that Spark's executors need into one archive: `python scripts/pack_environment.py OUT`.

For clusters whose machines do not have this project. The archive holds the packages of the lock file's group `worker`
(with `--predict` also those of `worker-predict`, which has TensorFlow). The code of `ml` and `spark_jobs` is not among
them: it goes with each job, so that it is never older than the driver's. uv makes the environment relocatable, so
neither conda-pack nor venv-pack is needed. The archive has no interpreter: the machines of the cluster need the same
Python at the same path as the machine that packed it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pyspark  # noqa: E402

from ml import storage  # noqa: E402
from setup import UV, real_python  # noqa: E402


def pack(out: str, predict: bool = False) -> None:
    """Write the archive (.tar.gz) to a path or URI.

    Raises:
        CalledProcessError: uv failed; its output says why.
    """
    groups = ["worker", "worker-predict"] if predict else ["worker"]
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "environment")
        variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        variables |= {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_DOWNLOADS": "never"}

        def uv(*arguments: str) -> None:
            subprocess.run([UV, *arguments, "--quiet"], cwd=ROOT, env=variables, check=True)

        uv("venv", "--relocatable", "--python", real_python(), str(environment))
        uv(
            "sync",
            "--frozen",
            "--no-dev",
            "--link-mode",
            "copy",
            *(part for g in groups for part in ("--only-group", g)),
        )
        archive = Path(folder, "environment.tar.gz")
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add(environment, arcname=".")
        _put(archive, out)


def pack_spark(out: str) -> None:
    """Write Spark's jars as one zip file to a path or URI, so that YARN is not sent 400 MB again with each job."""
    jars = Path(pyspark.__path__[0], "jars")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "spark.zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for jar in sorted(jars.glob("*.jar")):
                packed.write(jar, jar.name)
        _put(archive, out)


def _put(file: Path, out: str) -> None:
    if path := storage.local_path(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, path)
    else:
        fs, path_there = storage.filesystem(out)
        fs.put_file(str(file), path_there)


def main() -> None:
    parser = argparse.ArgumentParser(prog="pack_environment", description=__doc__.partition("\n")[0])
    parser.add_argument("out", help="path or URI of the archive, such as hdfs://namenode:8020/environment.tar.gz")
    parser.add_argument("--predict", action="store_true", help="with TensorFlow, for bulk predictions")
    parser.add_argument("--spark", metavar="URI", help="also write Spark's own jars there, as one zip file")
    arguments = parser.parse_args()
    pack(arguments.out, arguments.predict)
    print(f"Packed {arguments.out}. Settings of Spark on YARN, in the deployment file:")
    print(f"  spark.archives: {storage.hadoop_uri(arguments.out)}#environment")
    print("  spark.pyspark.python: ./environment/bin/python")
    if arguments.spark:
        pack_spark(arguments.spark)
        print(f"  spark.yarn.archive: {storage.hadoop_uri(arguments.spark)}")


if __name__ == "__main__":
    main()
