"""Compare the Spark stages with a peer or a bare loop: `make bench`.

    python benchmarks/run.py [--scale 0.1] [--scenes 500]

`annotations`: extract and join_labels on generated annotation files, compared with DuckDB computing the same result.
Needs the optional folder of test data `../shared/scale`, and is skipped with a message without it.
`chips`: the stage chip on a drawn release, compared with a bare loop over the same photographs in one process.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_jobs.chip import Image

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "scale"
sys.path.insert(0, str(ROOT / "scripts"))


def main() -> int:
    """Run the benchmarks and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the published annotation rows")
    parser.add_argument("--scenes", type=int, default=500, help="drawn photographs to chip")
    arguments = parser.parse_args()
    from airflow_environment import environment

    os.environ.update(environment(ROOT))
    del os.environ["OPEN_IMAGES_CONFIG"]  # a deployment's settings must not affect the benchmark
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        chips(Path(folder), arguments.scenes)
        annotations(Path(folder), arguments.scale)
    return 0


def chips(folder: Path, scenes: int) -> None:
    """Print photographs per second of the stage chip, and of a loop that does the same without Spark."""
    from ml.flow.records import ChipsRecord
    from ml.flow.table import STAGES
    from ml.release.release import find_release
    from ml.sample.release import write_sample_release
    from ml.workflow.opening import open_run
    from spark_jobs.chip import cut_image

    release = folder / "release"
    write_sample_release(release, scenes)
    run = open_run(str(folder / "chips"), "bench", {"release": str(release)})
    for stage in ("extract", "join_labels"):
        submit(stage, run.uri)
    seconds = submit("chip", run.uri)
    manifest = run.pinned("chip")
    work = duration(manifest)

    images = by_image(run.pinned("join_labels").table("faces"))
    found = find_release(str(release))
    started = time.perf_counter()
    for image in images:
        cut_image(image, found.photographs, run.config.margin, run.config.min_face_size)
    loop = time.perf_counter() - started
    print("| chips | photographs | seconds | photographs/s |\n|---|---|---|---|")
    photographs = manifest.record(ChipsRecord).images
    print(f"| stage `{STAGES['chip'].name}`, whole spark-submit, 2 cores | {photographs} | {seconds:.1f} | |")
    print(f"| with Spark's session, without the JVM's start | {photographs} | {work:.1f} | {photographs / work:.0f} |")
    print(f"| bare loop, 1 process | {photographs} | {loop:.1f} | {photographs / loop:.0f} |\n")


def by_image(faces: list[str]) -> list[Image]:
    """Return the labeled faces of a `faces` table by image, grouped as in the stage chip."""
    import pyarrow.dataset as ds

    from ml.features.columns import EDGES
    from ml.storage import local_path
    from spark_jobs.chip import Image

    table = ds.dataset([str(local_path(uri)) for uri in faces]).to_table(filter=ds.field("reason") == "labelled")
    images: dict[str, Image] = {}
    for row in table.to_pylist():
        image = images.get(row["image_id"]) or Image(row["subset"], row["image_id"], row["rotation"] or 0, [])
        box = tuple(row[edge] for edge in EDGES)
        images[image.image_id] = dataclasses.replace(image, boxes=[*image.boxes, box])
    return list(images.values())


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
