"""Measure how well the networks learn real faces in limited CPU time, and how robust the compact one is.

    python benchmarks/learning.py [--folder DIR] [--epochs 105] [--notebook-epochs 11] [--transfer MobileNetV2]

`learning`: test accuracy against CPU minutes on 8,000 real portraits, split by digest of ImageID, for the compact
network, the notebook's network with the report's settings (`AS_REPORTED`), and a transfer network.
`robustness`: the accuracy of the compact network on the same test faces with boxes enlarged, shrunk and shifted, and
with photographs blurred, darkened and compressed. `transfer.py` has more kinds, with intervals and calibration.

Needs the optional folder of test data `../shared/realfaces`, and skips the benchmark with a message without it. Keeps
everything in `--folder` and reuses what is done there. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from jobs import ROOT, prepare

# The report's layers, chip size, batches and Adam at 1e-3, without decay, smoothing, averaging and mixing. Augmentation
# and balance keep their defaults; docs/notebook.md lists the other differences from the report's training.
AS_REPORTED = {
    "network": "notebook",
    "chip_size": 224,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "schedule": "constant",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "averaging": 0.0,
    "mixing": 0.0,
}
SPLIT = {"split": "digest", "validation_share": 0.1, "test_share": 0.15}
SPARK = ("extract", "join_labels", "chip", "featurize")


def main() -> int:
    """Run the benchmarks and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-learning", help="folder for all data")
    parser.add_argument("--epochs", type=int, default=105, help="epochs of the compact network")
    parser.add_argument(
        "--notebook-epochs", type=int, default=11, help="epochs of the notebook's network, 50 in the report; 0: skip it"
    )
    parser.add_argument("--transfer", default="MobileNetV2", help="backbone; empty: skip it")
    parser.add_argument("--transfer-epochs", type=int, default=10)
    parser.add_argument("--backbone-weights", default="none", help="imagenet, none or a weights file")
    arguments = parser.parse_args()
    from portraits import FACES, write_portraits

    if not FACES.exists():
        print(f"learning, robustness: skipped, because {FACES.parent} does not exist")
        return 0
    prepare()
    release = arguments.folder / "release"
    if not release.exists():
        write_portraits(release)
    plans = {"compact": {"network": "compact", "epochs": arguments.epochs}}
    if arguments.notebook_epochs:
        plans["notebook, as reported"] = {**AS_REPORTED, "epochs": arguments.notebook_epochs}
    if arguments.transfer:
        plans[f"transfer:{arguments.transfer}, weights {arguments.backbone_weights}"] = {
            "network": f"transfer:{arguments.transfer}",
            "backbone_weights": arguments.backbone_weights,
            # Muon's rate suits networks trained from scratch; AdamW's is usual for backbones.
            **{"optimizer": "adamw", "learning_rate": 0.002},
            "epochs": arguments.transfer_epochs,
        }
    print("| network | parameters | chips | epochs | CPU minutes | minutes | images/s | test accuracy | recall gap |")
    print("|---|---|---|---|---|---|---|---|---|")
    runs = {name: learn(arguments.folder, name, values) for name, values in plans.items()}
    robustness(runs["compact"])
    return 0


def learn(folder: Path, name: str, values: dict[str, object]):
    """Run all stages; print the row of the network."""
    from ml.workflow.opening import open_run

    values = {"release": str(folder / "release"), **SPLIT, **values}
    run = open_run(str(folder / "storage"), name, values)
    for stage in SPARK:
        spark = ["spark-submit", "--master", "local[2]", "--driver-memory", "4g", "--conf", "spark.ui.enabled=false"]
        quietly([*spark, str(ROOT / "spark_jobs" / f"{stage}.py"), "--run", run.uri])
    quietly([sys.executable, "-m", "ml", "explore", "--run", run.uri])
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quietly([sys.executable, "-m", "ml", "train", "--run", run.uri])
    minutes, after = (time.perf_counter() - started) / 60, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    quietly([sys.executable, "-m", "ml", "evaluate", "--run", run.uri])
    trained, found = run.pinned("train").metrics, run.pinned("evaluate").metrics
    accuracy, gap = found["accuracy"], found["recall_gap"]
    spent = f"{cpu:.1f} | {minutes:.1f}" if minutes > 0.5 else "reused | "
    print(
        f"| {name} | {trained['parameters']:,} | {run.config.chip_size} | {trained['epochs']} | {spent} "
        f"| {trained['images_per_second']:.0f} | {accuracy['value']:.3f} ({accuracy['low']:.3f} to "
        f"{accuracy['high']:.3f}), {found['faces']:,} faces | {gap['value']:.3f} |",
        flush=True,
    )
    return run


def quietly(command: list[str]) -> None:
    """Run a command; print its output if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout[-4000:]}")


def robustness(run) -> None:
    """Print the accuracy of a run's model on changed versions of its test faces."""
    from kinds import BLURS, BOXES, DARKENED, PLAIN, QUALITIES, SHIFTS, Kind, SplitFaces, shifted

    from ml.metrics.decision import decide
    from ml.model.classifier import Classifier

    classifier = Classifier.load(run.pinned("train"))
    faces = SplitFaces(run, "test")

    def accuracy(kind: Kind) -> float:
        chips, _ = faces.cut(kind, classifier.chip_size, classifier.description.margin)
        decisions = decide(classifier.predict(chips), classifier.description.threshold)
        return float((decisions == faces.truth).mean())

    same = accuracy(PLAIN)
    print(f"\n| the {len(faces.truth):,} test faces | accuracy | points lost |\n|---|---|---|")
    print(f"| unchanged | {same:.3f} | |")
    for kind in BOXES:
        row(kind.name, same, accuracy(kind))
    for share in SHIFTS:
        # In all four directions: their mean, and the worst.
        found = [accuracy(kind) for kind in shifted(share)]
        row(f"box shifted by {share:.0%}, mean of four directions", same, float(np.mean(found)))
        row(f"box shifted by {share:.0%}, worst direction", same, min(found))
    for kind in (*BLURS, *DARKENED, QUALITIES[0]):
        row(kind.name, same, accuracy(kind))


def row(name: str, same: float, value: float) -> None:
    """Print a row of the robustness table."""
    print(f"| {name} | {value:.3f} | {100 * (same - value):+.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
