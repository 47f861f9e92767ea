"""Measure whether a promised error rate is held: deal real predictions into validation and test, many times.

    python benchmarks/promise.py [--folder DIR] [--deals 200]

Takes the runs that `transfer.py` left in its folder. What their models predict for their validation and test faces,
which they have not seen, is dealt by photograph into a validation and a test part of equal size. In each deal
temperature and threshold are chosen again on the validation part, as stage train does, then each rule turns the stated
risk into a confidence, and the test part shows the error rate among the faces that get a label.

The rules: the lowest confidence at which the validation faces do not exceed the stated risk (what a user would read
off the report's curve), fixed-sequence testing with exact binomial p-values, and that of `ml.metrics.promise`.

Without such a run it says so and stops. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from predicted import asked, predicted
from scipy.stats import binom

from ml.metrics.calibration import apply_temperature
from ml.metrics.choice import choose_cut, choose_temperature
from ml.metrics.decision import decide, given_confidence
from ml.metrics.promise import RiskTable, make_promise, risk_table

RISKS = (0.02, 0.03, 0.05, 0.1)
SEED = 1
Rule = Callable[[RiskTable, float], float | None]  # returns the confidence needed, None if no one will do


def main() -> int:
    """Run the benchmark and print its table."""
    runs, number = asked(__doc__)
    from ml.model.classifier import Classifier

    for run in runs:
        classifier = Classifier.load(run.pinned("train"))
        probabilities, truth, images = predicted(run, classifier)
        raw = apply_temperature(probabilities, 1 / classifier.description.temperature)
        print(f"{run.run_id}:\n")
        compare(raw, truth, images, number)
    return 0


def compare(raw: NDArray[np.float64], truth: NDArray[np.int64], images: NDArray[np.object_], number: int) -> None:
    """Print a row for each stated risk and rule.

    Args:
        raw: What a model predicts without its temperature, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).
        images: ImageID of each face, shape (n,).
        number: Number of deals.
    """
    right = (raw.argmax(axis=1) == truth).mean()
    photographs = len(np.unique(images))
    print(f"{len(truth):,} faces of {photographs:,} photographs, accuracy {right:.3f}, {number} deals\n")
    deals = [deal(raw, truth, images, seed) for seed in range(SEED, SEED + number)]
    print("| stated risk | rule | deals with a threshold | deals exceeded, of all | coverage of test | risk on test |")
    print("|---|---|---|---|---|---|")
    for risk in RISKS:
        for name, rule in RULES.items():
            print(row(risk, name, [(rule(validation, risk), test) for validation, test in deals]), flush=True)
    print()


class Test:
    """The test part of a deal: confidence of each face, and whether its label is wrong."""

    def __init__(self, probabilities: NDArray[np.float64], truth: NDArray[np.int64], threshold: float) -> None:
        predicted = decide(probabilities, threshold)
        self.confidence, self.wrong = given_confidence(probabilities, predicted), predicted != truth


def deal(
    raw: NDArray[np.float64], truth: NDArray[np.int64], images: NDArray[np.object_], seed: int
) -> tuple[RiskTable, Test]:
    """Deal the photographs into halves, and calibrate on the first as stage train does."""
    names, photograph = np.unique(images, return_inverse=True)
    first = np.random.default_rng(seed).permutation(len(names)) < len(names) // 2
    inside = first[photograph]
    temperature = choose_temperature(raw[inside], truth[inside], images[inside]).chosen
    calibrated = apply_temperature(raw, temperature)
    threshold = choose_cut(calibrated[inside], truth[inside], images[inside]).chosen
    table = risk_table(calibrated[inside], truth[inside], threshold, images[inside])
    return table, Test(calibrated[~inside], truth[~inside], threshold)


def row(risk: float, name: str, outcomes: list[tuple[float | None, Test]]) -> str:
    """Return a row of the table."""
    coverages, risks = [], []
    for limit, test in outcomes:
        if limit is not None:
            answered = test.confidence >= limit
            coverages.append(answered.mean())
            risks.append(test.wrong[answered].mean() if answered.any() else 0.0)
    exceeded = sum(found > risk for found in risks) / len(outcomes)
    means = f"{np.mean(coverages):.1%} | {np.mean(risks):.2%}" if risks else "| "
    return f"| {risk:.0%} | {name} | {len(risks) / len(outcomes):.0%} | {exceeded:.1%} | {means} |"


def naive(table: RiskTable, risk: float) -> float | None:
    """Return the lowest confidence at which the validation faces do not exceed the risk."""
    held = [
        limit
        for limit, wrong, answered in zip(table.thresholds, table.wrong, table.answered, strict=True)
        if wrong <= risk * answered
    ]
    return held[-1] if held else None


def binomial(table: RiskTable, risk: float) -> float | None:
    """Test thresholds in order by exact binomial p-values (learn then test), until one fails."""
    found = None
    for limit, wrong, answered in zip(table.thresholds, table.wrong, table.answered, strict=True):
        if binom.cdf(wrong, answered, risk) > 0.05:
            break
        found = limit
    return found


def promised(table: RiskTable, risk: float) -> float | None:
    """Return the confidence that the program promises with."""
    promise = make_promise(table, risk)
    return promise.min_confidence if promise else None


RULES: dict[str, Rule] = {
    "validation risk at most the stated": naive,
    "learn then test, binomial": binomial,
    "`max_risk`": promised,
}


if __name__ == "__main__":
    sys.exit(main())
