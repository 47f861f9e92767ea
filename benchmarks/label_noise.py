"""Measure whether stage suspects finds labels that were flipped on purpose, and what excluding its list does.

    python benchmarks/label_noise.py [--folder DIR] [--share 0.05] [--chip-size 64] [--epochs 25]

Flips a share of the labels of 8,000 real portraits, in all splits alike; trains the compact network; measures how many
of the flipped labels are among the first tenth of all faces by rank; trains again with the list of suspects as
`exclude_faces`, unreviewed; and compares both models by the true labels of the test faces.

Needs the optional folder of test data `../shared/realfaces`; without it, does nothing but say so. Keeps everything in
`--folder` and reuses what is done there. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jobs import ROOT, prepare


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "var" / "benchmark-label-noise", help="folder for all data"
    )
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels to flip")
    parser.add_argument("--chip-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=25)
    arguments = parser.parse_args()
    from portraits import FACES, image_id, write_portraits

    if not FACES.exists():
        print(f"label_noise: skipped, because {FACES.parent} does not exist")
        return 0
    prepare()
    truth = {
        image_id(face["name"]): face["label"] for face in pq.read_table(FACES, columns=["name", "label"]).to_pylist()
    }
    names = np.array(sorted(truth))
    flipped = set(np.random.default_rng(0).permutation(names)[: round(arguments.share * len(names))].tolist())
    release = arguments.folder / f"release-{arguments.share}"
    if not release.exists():
        write_portraits(release, flipped)
    values = {"release": str(release), "chip_size": arguments.chip_size, "epochs": arguments.epochs}
    print(f"Chips of {arguments.chip_size}, {arguments.epochs} epochs:\n", flush=True)
    first = run_all(arguments.folder, "label-noise-first", values)
    found(first, flipped)
    values["exclude_faces"] = first.pinned("suspects").file("suspects.csv")
    second = run_all(arguments.folder, "label-noise-second", values)
    compare(first, second, truth)
    return 0


def run_all(folder: Path, name: str, values: dict[str, object]):
    """Do all stages of a run that are not yet done."""
    from learning import SPARK, SPLIT, quietly

    from ml.workflow.opening import open_run

    run = open_run(str(folder / "storage"), name, {**SPLIT, **values})
    for stage in SPARK:
        spark = ["spark-submit", "--master", "local[2]", "--driver-memory", "4g", "--conf", "spark.ui.enabled=false"]
        quietly([*spark, str(ROOT / "spark_jobs" / f"{stage}.py"), "--run", run.uri])
    for stage in ("explore", "train", "evaluate", "suspects"):
        quietly([sys.executable, "-m", "ml", stage, "--run", run.uri])
    return run


def found(run, flipped: set[str]) -> None:
    """Print how many of the flipped labels are among the first of the ranking, and on the list."""
    from ml import storage

    scores = pq.read_table(storage.local_path(run.pinned("suspects").file("scores.parquet"))).to_pandas()
    scores["flipped"] = scores["image_id"].isin(flipped)
    print("| split | faces | flipped | among the first 5% | among the first 10% | on the list | of these flipped |")
    print("|---|---|---|---|---|---|---|")
    for split, part in [("all", scores), *scores.groupby("split")]:
        wrong, listed = part[part["flipped"]], part[part["suspect"]]
        first = [(wrong["rank"] <= share * len(scores)).mean() for share in (0.05, 0.1)]
        print(
            f"| {split} | {len(part):,} | {len(wrong):,} | {first[0]:.1%} | {first[1]:.1%} | {len(listed):,} "
            f"| {listed['flipped'].sum():,} |",
            flush=True,
        )


def compare(first, second, truth: dict[str, str]) -> None:
    """Print the accuracy of both models on the test faces, by their true labels."""
    from ml import storage
    from ml.metrics.comparison import measure
    from ml.metrics.predictions import TestPredictions

    answers = []
    for run in (second, first):
        table = pq.read_table(storage.local_path(run.pinned("evaluate").file("predictions.parquet"))).sort_by("face_id")
        right = np.array([run.config.label_order.index(truth[image]) for image in table["image_id"].to_pylist()])
        share = table["probability"].to_numpy().astype(np.float64)
        columns = {"image_id": table["image_id"].to_numpy(zero_copy_only=False)}
        threshold = run.pinned("train").metrics["threshold"]
        probabilities = np.stack([1 - share, share], axis=1)
        answers.append(TestPredictions(run.config.label_order, threshold, right, probabilities, columns))
    without, before = answers
    measured = measure(without, before)
    exclusion = second.pinned("train").metrics["exclusion"]
    print("\n| training faces | test accuracy by the true labels |\n|---|---|")
    accuracy, faces = measured.accuracy, sum(first.pinned("featurize").metrics["faces"]["train"].values())
    left = faces - sum(exclusion["excluded"].values())
    for name, value in ((f"all, {faces:,}", accuracy.baseline), (f"without the suspects, {left:,}", accuracy.model)):
        print(f"| {name} | {value.value:.3f} ({value.low:.3f} to {value.high:.3f}), {measured.faces:,} faces |")
    gain, p_value = measured.accuracy_difference, measured.mcnemar.p_value
    points = [f"{100 * value:+.1f}" for value in (gain.value, gain.low, gain.high)]
    print(f"\nDifference: {points[0]} points ({points[1]} to {points[2]}), McNemar's p = {p_value:.2g}.")


if __name__ == "__main__":
    sys.exit(main())
