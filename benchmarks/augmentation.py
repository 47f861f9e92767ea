"""Choose the augmentation by what models make of other sources' photographs: `make bench BENCH=augmentation`.

    python benchmarks/augmentation.py [--folder DIR] [--chip-size 64] [--epochs 25] [--only NAME ...]

Trains the compact network once for each row of `VARIANTS`, on the same real portraits with the same settings, and
predicts the test faces as each kind of `kinds.py` shows them. Prints for each row the accuracy on plain chips, the mean
over all other kinds, and the kinds that lose most; the differences to the first row have 95% intervals by image.

Needs the optional folder of test data `../shared/realfaces`, and skips the benchmark with a message without it. Prints
Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobs import ROOT, prepare, submit
from kinds import KINDS, TestFaces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.workflow.run import Run

NARROW = {"ZOOM": (-0.36, 0.2), "SHIFT": 0.1, "ASPECT": 0.1}
WIDE = {"ZOOM": (-0.5, 0.35), "SHIFT": 0.15, "ASPECT": 0.15}
LIGHT, COARSE = {"EXPOSED": 0.25, "NOISY": 0.25}, {"COARSE": 0.3}
NONE = {"EXPOSED": 0.0, "NOISY": 0.0, "COARSE": 0.0}
# The constants of `ml.features.augmentation` and `ml.features.degradation` in each row.
VARIANTS: dict[str, dict[str, Any]] = {
    "no degradation": {**NARROW, **NONE},
    "few pixels and JPEG": {**NARROW, **NONE, **COARSE},
    "poor light and noise": {**NARROW, **NONE, **LIGHT},
    "wider boxes": {**WIDE, **NONE},
    "all degradation": {**NARROW, **LIGHT, **COARSE},
    "all degradation, wider boxes": {**WIDE, **LIGHT, **COARSE},
}
WORST = 3  # kinds to name


@dataclass
class Trained:
    """What became of a row.

    Attributes:
        seconds: CPU seconds of the training.
        right: By kind, whether each test face was predicted as labeled.
    """

    seconds: float
    right: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def transferred(self) -> NDArray[np.float64]:
        """The share of the kinds other than plain in which each face was right."""
        others: NDArray[np.float64] = np.mean([self.right[kind.name] for kind in KINDS[1:]], axis=0)
        return others


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-learning", help="folder for all data")
    parser.add_argument("--chip-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), help="rows to train")
    arguments = parser.parse_args()
    from portraits import FACES, write_portraits

    if not FACES.exists():
        print(f"augmentation: skipped, because {FACES.parent} does not exist")
        return 0
    prepare()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    release = arguments.folder / "release"
    if not release.exists():
        write_portraits(release)
    run = featurized(arguments.folder, arguments.chip_size, arguments.epochs)
    faces = TestFaces(run)
    chips = {kind.name: faces.cut(kind, arguments.chip_size, run.config.margin)[0] for kind in KINDS}
    print(
        "| augmentation | CPU minutes | plain | to the first row | mean of the other kinds | to the first row | worst |"
    )
    print("|---|---|---|---|---|---|---|")
    first: Trained | None = None
    for name in arguments.only:
        found = train(run, VARIANTS[name], chips, faces.truth)
        first = first or found
        show(name, found, first, faces.image_ids)
    return 0


def featurized(folder: Path, chip_size: int, epochs: int) -> Run:
    """Return a run whose features are made."""
    from learning import SPARK, SPLIT

    from ml.workflow.opening import open_run

    values = {"release": str(folder / "release"), **SPLIT, "network": "compact", "epochs": epochs}
    run = open_run(str(folder / "storage"), f"augmentation-{chip_size}", {**values, "chip_size": chip_size})
    for stage in SPARK:
        submit(stage, run.uri)
    return run


def train(run: Run, changed: dict[str, Any], chips: dict[str, NDArray[np.uint8]], truth: NDArray[np.int64]) -> Trained:
    """Train the network with changed constants, and predict the chips of each kind."""
    import keras

    from ml.features import augmentation, degradation
    from ml.metrics.decision import decide
    from ml.networks.table import build_network
    from ml.stages.train import make_feeds
    from ml.training.calibrate import calibrate
    from ml.training.checkpoints import Checkpoints
    from ml.training.fit import Fit

    modules = {name: augmentation if hasattr(augmentation, name) else degradation for name in changed}
    kept = {name: getattr(module, name) for name, module in modules.items()}
    for name, module in modules.items():
        setattr(module, name, changed[name])
    started = cpu()
    keras.utils.set_random_seed(run.config.seed)
    training, validation = make_feeds(run.pinned("featurize"), run.config)
    network = build_network("compact", None, len(training.reader.labels))
    with tempfile.TemporaryDirectory() as folder:
        Fit(
            run.config, network, training, validation, Checkpoints(f"file://{folder}"), True, lambda history: None
        ).run()
    seconds = cpu() - started
    for name, module in modules.items():
        setattr(module, name, kept[name])
    fixed = build_network("compact", training.reader.chip_size, len(training.reader.labels))
    fixed.set_weights(network.get_weights())
    threshold = calibrate(fixed, validation.reader).threshold.chosen
    right = {
        name: decide(fixed.predict(pixels, batch_size=64, verbose=0), threshold) == truth
        for name, pixels in chips.items()
    }
    return Trained(seconds, right)


def show(name: str, found: Trained, first: Trained, image_ids: NDArray[Any]) -> None:
    """Print a row."""
    plain, others = found.right["plain"].astype(float), found.transferred
    lost = {kind.name: plain.mean() - found.right[kind.name].mean() for kind in KINDS[1:]}
    worst = sorted(lost, key=lambda kind: -lost[kind])[:WORST]
    print(
        f"| {name} | {found.seconds / 60:.1f} | {plain.mean():.3f} "
        f"| {difference(plain - first.right['plain'], image_ids)} | {others.mean():.3f} "
        f"| {difference(others - first.transferred, image_ids)} "
        f"| {', '.join(f'{kind} ({-100 * lost[kind]:+.1f})' for kind in worst)} |",
        flush=True,
    )


def difference(values: NDArray[np.float64], image_ids: NDArray[Any]) -> str:
    """Return the mean of the faces' differences in points, with its interval."""
    from ml.metrics.bootstrap import ImageBootstrap

    if not values.any():
        return ""
    sums = ImageBootstrap(image_ids).sums([values, np.ones(len(values))])
    low, high = np.percentile(100 * sums[:, 0] / sums[:, 1], (2.5, 97.5))
    return f"{100 * values.mean():+.1f} ({low:+.1f} to {high:+.1f})"


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
