"""Measure whether a promised error rate is held: deal real predictions into validation and test, many times.

    python benchmarks/promise.py [--folder DIR] [--epochs 25] [--deals 200]

A compact network is trained on half of the 8,000 portraits of `../shared/realfaces`. What it predicts for the other
half, which it has not seen, is dealt by photograph into a validation and a test part of equal size. In each deal
temperature and threshold are chosen again on the validation part, as stage train does, then each rule turns the stated
risk into a confidence, and the test part shows the error rate among the faces that get a label.

The rules: the lowest confidence at which the validation faces do not exceed the stated risk (what a user would read
off the report's curve), fixed-sequence testing with exact binomial p-values, and that of `ml.metrics.promise`.

Keeps the predictions in `--folder` and reuses them. Without the folder of test data it says so and stops. Prints
Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import binom

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from ml.metrics.calibration import apply_temperature  # noqa: E402
from ml.metrics.choice import choose_cut, choose_temperature  # noqa: E402
from ml.metrics.decision import decide, given_confidence  # noqa: E402
from ml.metrics.promise import RiskTable, make_promise, risk_table  # noqa: E402

RISKS = (0.02, 0.03, 0.05, 0.1)
SPLIT = {"split": "digest", "validation_share": 0.25, "test_share": 0.25}
SEED = 1
Rule = Callable[[RiskTable, float], float | None]  # returns the confidence needed, None if no one will do


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-promise", help="folder for all data")
    parser.add_argument("--epochs", type=int, default=25, help="epochs of the compact network")
    parser.add_argument("--deals", type=int, default=200, help="number of random deals")
    arguments = parser.parse_args()
    file = arguments.folder / "predictions.parquet"
    if not file.exists() and not predict_portraits(arguments.folder, arguments.epochs, file):
        return 0
    table = pq.read_table(file)
    second, truth, images = (table[name].to_numpy() for name in ("probability", "label", "image_id"))
    raw, truth = np.stack([1 - second, second], axis=1), truth.astype(np.int64)
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}\n")
    right = (raw.argmax(axis=1) == truth).mean()
    photographs = len(np.unique(images))
    print(f"{len(truth):,} faces of {photographs:,} photographs, accuracy {right:.3f}, {arguments.deals} deals\n")
    deals = [deal(raw, truth, images, seed) for seed in range(SEED, SEED + arguments.deals)]
    print("| stated risk | rule | deals with a threshold | deals exceeded, of all | coverage of test | risk on test |")
    print("|---|---|---|---|---|---|")
    for risk in RISKS:
        for name, rule in RULES.items():
            print(row(risk, name, [(rule(validation, risk), test) for validation, test in deals]), flush=True)
    return 0


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


def predict_portraits(folder: Path, epochs: int, file: Path) -> bool:
    """Train on half of the portraits, and write what the network predicts for the others without its temperature."""
    from learning import SPARK, quietly
    from portraits import FACES, write_portraits
    from predicted import predicted

    if not FACES.exists():
        print(f"promise: skipped, because {FACES.parent} does not exist")
        return False
    from airflow_environment import environment

    os.environ.update(environment(ROOT))
    del os.environ["OPEN_IMAGES_CONFIG"]  # a deployment's settings must not affect the benchmark
    from ml.model.classifier import Classifier
    from ml.workflow.opening import open_run

    if not (folder / "release").exists():
        write_portraits(folder / "release")
    values = {"release": str(folder / "release"), **SPLIT, "chip_size": 64, "epochs": epochs}
    run = open_run(str(folder / "storage"), f"promise {epochs}", values)
    for stage in SPARK:
        quietly(["spark-submit", "--master", "local[2]", str(ROOT / "spark_jobs" / f"{stage}.py"), "--run", run.uri])
    quietly([sys.executable, "-m", "ml", "train", "--run", run.uri])
    classifier = Classifier.load(run.pinned("train"))
    probabilities, truth, images = predicted(run, classifier)
    raw = apply_temperature(probabilities, 1 / classifier.description.temperature)
    columns = {"image_id": images.astype(str), "label": truth.astype(np.int8), "probability": raw[:, 1]}
    pq.write_table(pa.table(columns), file)
    return True


if __name__ == "__main__":
    sys.exit(main())
