"""Measure what a selection of a few images costs in a large release: `make bench BENCH=selection`.

    python benchmarks/selection.py [--scales 0.01 0.1] [--images 150]

Runs extract to featurize on generated annotation files of several sizes, with `images_per_label` as in the original
notebook, and prints each stage's seconds without the start of the JVM, beside those of reading the CSV files alone
with pyarrow. Only reading may grow with the release. The photographs of the chosen images are drawn.
Needs the optional folder of test data `../shared/scale`, and is skipped with a message without it.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import ROOT, prepare, submit, work

SHARED = ROOT.parent / "shared" / "scale"
STAGES = ("extract", "join_labels", "chip", "featurize")


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=float, nargs="*", default=[0.01, 0.1], help="shares of the published rows")
    parser.add_argument("--images", type=int, default=150, help="images for each label")
    arguments = parser.parse_args()
    if not (SHARED / "make_annotations.py").exists():
        print("selection: skipped, because ../shared/scale with the generator does not exist.")
        return 0
    prepare()
    print(f"| scale | rows | reading alone | {' | '.join(STAGES)} | faces |\n|{'---|' * (len(STAGES) + 4)}")
    for scale in arguments.scales:
        with tempfile.TemporaryDirectory() as folder:
            select(Path(folder), scale, arguments.images)
    return 0


def select(folder: Path, scale: float, images: int) -> None:
    """Print the row of one scale."""
    from ml.flow.records import ExtractRecord
    from ml.workflow.opening import open_run

    release = folder / "release"
    subprocess.run([sys.executable, SHARED / "make_annotations.py", release, str(scale)], check=True, stdout=sys.stderr)
    reading = read_alone(release)
    run = open_run(
        str(folder / "storage"), "bench", {"release": str(release), "images_per_label": images, "split": "digest"}
    )
    seconds = []
    for stage in STAGES:
        if stage == "chip":
            draw_photographs(release, run.pinned("join_labels").table("faces"))
        submit(stage, run.uri)
        seconds.append(work(run.pinned(stage)))
    rows = sum(run.pinned("extract").record(ExtractRecord).rows.values())
    columns = " | ".join(f"{each:.1f}" for each in (reading, *seconds))
    print(f"| {scale:g} | {rows:,} | {columns} | {run.pinned('chip').ledger['chipped']:,} |", flush=True)


def read_alone(release: Path) -> float:
    """Return the seconds that pyarrow takes to read all tables, on all cores."""
    from pyarrow import csv

    started = time.perf_counter()
    for file in release.glob("*-*.csv"):
        with csv.open_csv(file) as reader:
            for _ in reader:
                pass
    return time.perf_counter() - started


def draw_photographs(release: Path, faces: list[str]) -> None:
    """Write one drawn photograph under the name of each chosen image."""
    import numpy as np
    import pyarrow.dataset as ds
    from PIL import Image

    from ml.storage import local_path

    table = ds.dataset([str(local_path(uri)) for uri in faces]).to_table(
        columns=["image_id", "subset"], filter=ds.field("reason") == "labelled"
    )
    noise = np.random.default_rng(0)
    for image_id, subset in {(row["image_id"], row["subset"]) for row in table.to_pylist()}:
        target = release / subset / f"{image_id}.jpg"
        target.parent.mkdir(exist_ok=True)
        small = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)  # of its own, so that no two are near-duplicates
        Image.fromarray(small).resize((1024, 768), Image.Resampling.BICUBIC).save(target, quality=85)


if __name__ == "__main__":
    sys.exit(main())
