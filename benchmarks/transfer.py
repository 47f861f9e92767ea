"""Measure how a model holds up on other sources' photographs: `make bench BENCH=transfer`.

    python benchmarks/transfer.py [--folder DIR] [--epochs 55] [--seeds 42 43 44]

Trains the compact network on real portraits as `learning.py` does, and reuses what that left in its folder. Then
predicts the same test faces as other sources show them: boxed more tightly or loosely, turned, of few pixels,
compressed, gray, dark, noisy and blurred (`kinds.py`). Prints accuracy, recall gap and calibration of each kind, and
the share of its faces that lie outside the range of training's, by reason. With several seeds it does so for a training
with each of them; the split into training and test faces is the same for all.

Needs the optional folder of test data `../shared/realfaces`, and skips the benchmark with a message without it. Prints
Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobs import ROOT, prepare
from kinds import KINDS, PLAIN, SplitFaces

if TYPE_CHECKING:
    from ml.metrics.classification import Classification
    from ml.prediction.predictor import Predictor
    from ml.vision.drawing import Rectangle
    from ml.vision.images import Pixels
    from ml.workflow.run import Run

ALLOWED = 3.0  # points that a kind may lose


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-learning", help="folder for all data")
    parser.add_argument("--epochs", type=int, default=55, help="epochs of the compact network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="seeds of the trainings")
    arguments = parser.parse_args()
    from portraits import FACES, write_portraits

    if not FACES.exists():
        print(f"transfer: skipped, because {FACES.parent} does not exist")
        return 0
    prepare()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    from learning import learn

    release = arguments.folder / "release"
    if not release.exists():
        write_portraits(release)
    print("| network | parameters | chips | epochs | CPU minutes | minutes | images/s | test accuracy | recall gap |")
    print("|---|---|---|---|---|---|---|---|---|")
    plan = {"network": "compact", "epochs": arguments.epochs}
    runs = [learn(arguments.folder, f"transfer, seed {seed}", {**plan, "seed": seed}) for seed in arguments.seeds]
    for seed, run in zip(arguments.seeds, runs, strict=True):
        print(f"\nSeed {seed}:")
        transfer(run)
    return 0


def transfer(run: Run) -> None:
    """Print the scores of a run's model on its test faces as each kind shows them."""
    from ml.model.novelty import REASONS
    from ml.prediction.predictor import load_predictor

    predictor = load_predictor(run.pinned("train").uri, 0.5)
    faces = SplitFaces(run, "test")
    columns = ("accuracy", "points lost", "recall gap", "ECE", "unusual", *REASONS)
    print(f"\n| the {len(faces.truth):,} test faces | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    plain, worse = 0.0, []
    for kind in KINDS:
        chips, boxes = faces.cut(kind, predictor.description.chip_size, predictor.description.margin)
        found, ece, unusual = scores(predictor, faces, chips, boxes)
        accuracy = found.accuracy.defined
        plain = accuracy if kind is PLAIN else plain
        lost = 100 * (plain - accuracy)
        worse += [f"{kind.name} ({lost:.1f})"] if lost > ALLOWED else []
        print(
            f"| {kind.name} | {accuracy:.3f} ({found.accuracy.low:.3f} to {found.accuracy.high:.3f}) "
            f"| {f'{lost:+.1f}' if kind is not PLAIN else ''} | {found.recall_gap.defined:.3f} | {ece:.3f} "
            f"| {' | '.join(f'{share:.1%}' for share in unusual)} |",
            flush=True,
        )
    print(f"\nMore than {ALLOWED:.0f} points below the plain chips: {', '.join(worse) or 'none'}.")


def scores(
    predictor: Predictor, faces: SplitFaces, chips: Pixels, boxes: list[Rectangle]
) -> tuple[Classification, float, list[float]]:
    """Return what a model makes of chips of the faces.

    Returns:
        The scores, the expected calibration error, and the share of unusual faces, of all and by reason.
    """
    from ml.metrics.bootstrap import ImageBootstrap
    from ml.metrics.calibration import calibration_metrics
    from ml.metrics.classification import classification_metrics
    from ml.model.novelty import REASONS

    description = predictor.description
    answers = predictor.answer(chips, boxes)
    probabilities = np.array([answer.probabilities for answer in answers])
    bootstrap = ImageBootstrap(faces.image_ids)
    found = classification_metrics(description.labels, faces.truth, probabilities, description.threshold, bootstrap)
    calibration = calibration_metrics(faces.truth, probabilities, 1.0, bootstrap)
    unusual = [answer.unusual or () for answer in answers]
    counts = [sum(map(bool, unusual)), *(sum(reason in each for each in unusual) for reason in REASONS)]
    return found, calibration.after.ece.defined, [count / len(answers) for count in counts]


if __name__ == "__main__":
    sys.exit(main())
