"""Backfill five monthly deliveries of real faces with a real scheduler: forwards, again, and backwards from scratch.

    python benchmarks/backfill.py [--scenes 400] [--epochs 8]

Prints the data and accuracy of each month's model, the time of each backfill, and whether the features of each month
have the same rows in either order of the months. Exits with 1 if they differ, if a delivery was extracted or chipped
more than once, or if the second backfill did any work.

Needs the optional folder of test data `../shared/realfaces`, and skips the benchmark with a message without it. Prints
Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("scripts", "tests", "dags", "plugins")]
REALFACES = ROOT.parent / "shared" / "realfaces"
MONTHS = tuple(f"2020-{month:02d}" for month in range(1, 6))


def main() -> int:
    """Run the backfills and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=400, help="scenes in each delivery")
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    if not REALFACES.exists():
        print(f"backfill: skipped, because {REALFACES} does not exist")
        return 0
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder, "landing")
        for number, month in enumerate(MONTHS, 1):
            deliver(landing / f"{month}-15", number, arguments.scenes)
        forwards, faults = backfill(Path(folder, "forwards"), landing, arguments.epochs, again=True)
        backwards, more = backfill(Path(folder, "backwards"), landing, arguments.epochs, "--run-backwards")
    same = forwards == backwards
    print(f"\nThe features of all months are {'the same' if same else 'NOT the same'} rows forwards and backwards.")
    for fault in (faults := faults + more):
        print(f"FAULT: {fault}")
    return 0 if same and not faults else 1


def deliver(folder: Path, part: int, scenes: int) -> None:
    """Build a delivery of faces that no other delivery has, and seal it."""
    from ml.release import note as note_module

    command = [sys.executable, str(REALFACES / "build_release.py"), str(folder), "--part", f"{part}/5"]
    subprocess.run([*command, "--scenes", str(scenes), "--seed", str(part)], check=True, stdout=subprocess.DEVNULL)
    note_module.seal(str(folder))


def backfill(
    root: Path, landing: Path, epochs: int, *options: str, again: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Backfill all months in a new root; print a row for each month.

    Returns:
        A digest of each month's features, and the faults found.
    """
    import yaml

    from support.airflow_root import attempts, make_root, running
    from support.backfills import DAG, Backfills

    storage = make_root(root, landing)
    file = root / "var" / "deployment.yaml"
    values = {"epochs": epochs, "training_schedule": "0 0 1 * *"}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))
    interval = ("--from-date", "2020-01-01", "--to-date", "2020-05-31", "--max-active-runs", "2")
    digests, faults = {}, []
    with running(root, DAG) as (client, password):
        airflow = Backfills(root, storage, client, password, DAG)
        seconds = timed(airflow, *interval, *options)
        print(f"\n{' '.join(options) or 'forwards'}: {seconds:.0f} s\n")
        print("| month | deliveries | faces | accuracy | majority |\n|---|---|---|---|---|")
        runs = airflow.runs("backfill")
        for month in MONTHS:
            run_id = runs[month]["dag_run_id"]
            if runs[month]["state"] != "success":
                faults.append(f"{month}: {runs[month]['state']}, {airflow.states(run_id)}")
                continue
            run, metrics = airflow.run(run_id), airflow.pushed(run_id, "evaluate")
            digests[month] = features_digest(run)
            faces = sum(run.pinned("featurize").ledger.values())
            found = metrics["accuracy"]
            accuracy = f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            print(
                f"| {month} | {len(run.deliveries)} | {faces:,} | {accuracy} | {metrics['majority']['value']:.3f} |",
                flush=True,
            )
        for stage, table in (("extract", "boxes"), ("chip", "chips")):
            done = len(list(storage.glob(f"stages/{stage}/*/attempts/*/{table}")))
            if done != len(MONTHS):
                faults.append(f"{stage} was done {done} times for {len(MONTHS)} deliveries")
        if again:
            before = attempts(storage)
            seconds = timed(airflow, *interval, "--reprocess-behavior", "completed")
            print(f"\nAgain, with every stage reused: {seconds:.0f} s")
            if attempts(storage) != before:
                faults.append("the second backfill made new attempts")
    return digests, faults


def timed(airflow, *options: str) -> float:
    """Run a backfill to its end, and return its duration in seconds."""
    started = time.monotonic()
    airflow.backfill(*options)
    airflow.wait_for_backfill()
    return time.monotonic() - started


def features_digest(run) -> str:
    """Return a digest of the rows of a run's features, independent of their order."""
    import pyarrow.dataset

    from ml import storage
    from ml.features.reader import split_table
    from ml.photographs.source import SUBSETS

    rows = []
    for split in SUBSETS:
        paths = [storage.local_path(uri) for uri in run.pinned("featurize").table(split_table(split))]
        for row in pyarrow.dataset.dataset(paths).to_table().to_pylist():
            rows.append(repr((split, sorted(row.items()))))
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
