"""Compare the Spark stages with a peer or a bare loop: `make bench`.

    python benchmarks/run.py [--scale 0.1]

`annotations`: extract and join_labels on generated annotation files, compared with DuckDB computing the same result.
Needs the optional folder of test data `../shared/scale`, and is skipped with a message without it.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "scale"
sys.path.insert(0, str(ROOT / "scripts"))


def main() -> int:
    """Run the benchmarks and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the published annotation rows")
    arguments = parser.parse_args()
    from airflow_environment import environment

    os.environ.update(environment(ROOT))
    del os.environ["OPEN_IMAGES_CONFIG"]  # a deployment's settings must not affect the benchmark
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        annotations(Path(folder), arguments.scale)
    return 0


def annotations(folder: Path, scale: float) -> None:
    """Print the time of extract and join_labels, and of DuckDB, which loads, types and joins the same files."""
    if not (SHARED / "make_annotations.py").exists():
        print("annotations: skipped, because ../shared/scale with the generator and the peer does not exist.")
        return
    from ml.flow.records import ExtractRecord
    from ml.workflow.opening import open_run

    release = folder / "annotations"
    subprocess.run([sys.executable, SHARED / "make_annotations.py", release, str(scale)], check=True, stdout=sys.stderr)
    run = open_run(str(folder / "scale"), "bench", {"release": str(release)})
    ours = {stage: submit(stage, run.uri) for stage in ("extract", "join_labels")}
    uv = ROOT / ".tools" / "uv" / "bin" / "uv"
    started = time.perf_counter()
    peer = [uv, "run", "--quiet", "--no-project", "--with", "duckdb", "python", SHARED / "peer_duckdb.py"]
    done = subprocess.run([*peer, release, folder / "peer.parquet"], check=True, capture_output=True, text=True)
    whole = time.perf_counter() - started
    rows = run.pinned("extract").record(ExtractRecord).rows
    print(f"| annotations, scale {scale}: {sum(rows.values()):,} rows | seconds | start of the JVM |\n|---|---|---|")
    for stage, seconds in ours.items():
        print(f"| stage `{stage}` | {seconds:.1f} | {seconds - duration(run.pinned(stage)):.1f} |")
    total = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("TOTAL"))
    print(f"| DuckDB, two threads | {float(total):.1f} | (whole process {whole:.1f}) |")
    labeled = run.pinned("join_labels").ledger["labelled"]
    print(f"\nlabeled here: {labeled:,}; DuckDB: {[x for x in done.stdout.splitlines() if x.startswith('faces')]}")
    shutil.rmtree(release)


def submit(stage: str, run: str) -> float:
    """Run a job with spark-submit; return its duration in seconds."""
    conf = {"spark.ui.enabled": "false", "spark.log.level": "WARN", "spark.driver.memory": "4g"}
    options = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    command = ["spark-submit", "--master", "local[2]", *options, str(ROOT / "spark_jobs" / f"{stage}.py"), "--run", run]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def duration(manifest) -> float:
    """Return the seconds between a manifest's start and end."""
    start, end = (datetime.datetime.fromisoformat(text) for text in (manifest.started, manifest.finished))
    return (end - start).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
