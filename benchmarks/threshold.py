"""Measure how close a threshold brings the recalls of new faces: `make bench BENCH=threshold`.

    python benchmarks/threshold.py [--folder DIR] [--deals 200]

Takes every run that `transfer.py` left in its folder, and deals the faces of its validation and test split by
photograph, many times, into a validation part of several sizes and a test part. On the validation part each rule
chooses a threshold; the recall gap is that of the test part. The rules: 0.5; 0.5 unless the recalls differ there by
more than noise, as on small splits; the fitted threshold in any case; and the program's, `ml.metrics.choice`.

Trains nothing: without a run in the folder it says so and stops. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from predicted import asked, predicted

if TYPE_CHECKING:
    from ml.metrics.choice import Choice
    from ml.workflow.run import Run

SIZES = (75, 150, 400, 737)  # photographs of the validation part
SEED = 1


@dataclass(frozen=True)
class Faces:
    """The faces of a run's validation and test split.

    Attributes:
        probabilities: Calibrated, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).
        images: Its photograph, as a number from 0, shape (n,).
    """

    probabilities: NDArray[np.float64]
    truth: NDArray[np.int64]
    images: NDArray[np.int64]

    def part(self, which: NDArray[np.bool_]) -> Faces:
        """Return some of the faces."""
        return Faces(self.probabilities[which], self.truth[which], self.images[which])


def main() -> int:
    """Run the benchmark and print its table."""
    runs, number = asked(__doc__)
    if not runs:
        return 0
    print("| run | validation photographs | 0.5 | unless proved | fitted | the program's |\n|---|---|---|---|---|---|")
    for run in runs:
        faces = faces_of(run)
        for size in SIZES:
            told = (f"{rms:.2f} ({accuracy:.3f})" for rms, accuracy in gaps(faces, size, number))
            print(f"| {run.run_id} | {size} | {' | '.join(told)} |", flush=True)
    return 0


def faces_of(run: Run) -> Faces:
    """Return what a run's model predicts for its validation and test faces."""
    from ml.model.classifier import Classifier

    probabilities, truth, images = predicted(run, Classifier.load(run.pinned("train")))
    return Faces(probabilities, truth, np.unique(images, return_inverse=True)[1])


def gaps(faces: Faces, size: int, deals: int) -> list[tuple[float, float]]:
    """Return the root mean square of the recall gap in points, and the mean accuracy, of each rule over all deals."""
    from ml.metrics.choice import choose_cut

    count = int(faces.images.max()) + 1
    found = []
    for seed in range(SEED, SEED + deals):
        first = np.random.default_rng(seed).permutation(count) < size
        validation, test = faces.part(first[faces.images]), faces.part(~first[faces.images])
        choice = choose_cut(validation.probabilities, validation.truth, validation.images)
        found.append([scored(test, threshold) for threshold in thresholds(choice)])
    by_rule = np.array(found)  # deals, rules, (gap, accuracy)
    rms = 100 * np.sqrt(np.square(by_rule[..., 0]).mean(axis=0))
    return list(zip(rms.tolist(), by_rule[..., 1].mean(axis=0).tolist(), strict=True))


def thresholds(choice: Choice) -> tuple[float, ...]:
    """Return the threshold of each rule, in the order of the table's columns."""
    from ml.metrics.choice import PLAIN_THRESHOLD

    proved = choice.fitted if choice.gain > choice.noise else PLAIN_THRESHOLD
    return PLAIN_THRESHOLD, proved, choice.fitted, choice.chosen


def scored(faces: Faces, threshold: float) -> tuple[float, float]:
    """Return the difference of the two recalls, and the accuracy, both as shares."""
    from ml.metrics.decision import decide

    right = decide(faces.probabilities, threshold) == faces.truth
    return float(right[faces.truth == 1].mean() - right[faces.truth == 0].mean()), float(right.mean())


if __name__ == "__main__":
    sys.exit(main())
