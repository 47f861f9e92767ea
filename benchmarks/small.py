"""Measure a small run, which is nearly all startup: `make bench BENCH=small`.

    python benchmarks/small.py [--scenes 80] [--rounds 2]

Runs the training DAG for one epoch on a drawn release, from trigger to success, as `make demo` does. The peer in the
same run has no class-data archive of Spark and compiles its plans. Each round of each of them starts from an empty
storage root. CPU seconds are those of all processes; they vary less than seconds where the machine has other work.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]
DATA_STAGES = ("extract", "explore", "join_labels", "chip", "featurize")
# Runs in a process of its own: Airflow reads its settings as it is imported.
RUN = """
import json, sys, time
from pathlib import Path
import ml.class_data
from demo import run_dag
if sys.argv[1] == "peer":
    ml.class_data.archive_path = lambda java: Path("/without/archive")
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
started = time.monotonic()
state, run_id = run_dag({"epochs": 1, "min_faces": 5})
seconds = {"trigger to success": time.monotonic() - started}
assert state == "success", state
with create_session() as session:
    tasks = session.query(TaskInstance).filter_by(run_id=run_id).all()
    seconds |= {task.task_id.rpartition('.')[2]: task.duration or 0 for task in tasks}
Path(sys.argv[2]).write_text(json.dumps(seconds))
"""


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=80, help="photographs to draw; `make demo` has 240")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind, in turn")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"project": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for kind in found:
                found[kind].append(measure(Path(folder) / f"{kind}-{number}", arguments.scenes, kind))
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, {arguments.scenes} photographs\n")
    print("| seconds, median (smallest) | as it is | without archive, plans compiled |\n|---|---|---|")
    for row in (*DATA_STAGES, "five data stages", "train", "evaluate", "trigger to success", "CPU"):
        print(f"| {row} | {' | '.join(shown([one[row] for one in runs]) for runs in found.values())} |")
    return 0


def measure(root: Path, scenes: int, kind: str) -> dict[str, float]:
    """Run the DAG once below a new root; return the seconds of each task, of the run, and of all processors.

    Args:
        root: The folder to make, in place of the project's.
        scenes: Photographs to draw.
        kind: `project` or `peer`.
    """
    from airflow_environment import INTERPRETED, ensure_deployment, environment, migrate
    from ml.class_data import FIRST_COMPILER, LAUNCHER_OPTIONS, SUBMIT_OPTIONS
    from ml.sample.release import write_sample_release

    root.mkdir()
    for name in ("dags", "plugins"):
        (root / name).symlink_to(ROOT / name)
    write_sample_release(root / "var" / "sample-release", scenes)
    deployment = ensure_deployment(root)
    variables = os.environ | environment(root) | {"OPEN_IMAGES_CONFIG": str(deployment)}
    if kind == "peer":
        content = yaml.safe_load(deployment.read_text())
        content["spark_conf"] = {key: value for key, value in content["spark_conf"].items() if key not in INTERPRETED}
        deployment.write_text(yaml.safe_dump(content))
        variables |= {SUBMIT_OPTIONS: FIRST_COMPILER, LAUNCHER_OPTIONS: ""}
    migrate(root)
    out = root / "seconds.json"
    before = cpu()
    subprocess.run(
        [sys.executable, "-c", RUN, kind, str(out)],
        cwd=ROOT / "scripts",
        env=variables,
        check=True,
        stdout=(root / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    seconds: dict[str, float] = json.loads(out.read_text())
    return seconds | {"five data stages": sum(seconds[name] for name in DATA_STAGES), "CPU": cpu() - before}


def cpu() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shown(seconds: list[float]) -> str:
    """Return median and smallest value as text."""
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f})"


if __name__ == "__main__":
    sys.exit(main())
