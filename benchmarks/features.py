"""Compare the speed of the features' reader with what the network consumes: `make bench BENCH=features`.

    python benchmarks/features.py [--faces 8000]

Reads shards of chips of 96 pixels as a training does, shuffled and checked, and as the dataset that Keras is given;
then augments batches and takes training steps of the compact network, with batches that are in memory.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from jobs import ROOT, prepare

sys.path.insert(0, str(ROOT / "tests"))

BATCH, SIZE, STEPS = 64, 96, 40


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=8000, help="faces in the shards")
    faces = parser.parse_args().faces
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure_rates(Path(folder), faces)
    network = rates["the compact network's training steps"]
    print("| what | images/s | times the network |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / network:.1f} |")
    return 0


def measure_rates(folder: Path, faces: int) -> dict[str, float]:
    """Return images per second of each way."""
    import tensorflow as tf

    from ml.features.augmentation import augment
    from ml.features.feed import Feed
    from ml.features.reader import FeatureReader
    from ml.networks.table import build_network
    from support.features import make_features

    counts = {"train": (faces // 2, faces // 2), "validation": (64, 64), "test": (8, 8)}
    features = make_features(folder, counts, SIZE, 4)
    reader = FeatureReader(features, "train", seed=1)
    rates = {
        "reader, in stored order": faces / spent(reader.batches(BATCH)),
        "reader, shuffled and checked": faces / spent(reader.checked_batches(BATCH, epoch=1)),
        "the dataset that Keras is given": faces / spent(Feed(reader, BATCH).dataset(2)),
    }
    batch = next(iter(Feed(reader, BATCH).dataset(3)))
    augmented = tf.function(augment)
    augmented(batch[0], tf.constant([0, 0]))  # traces
    started = time.perf_counter()
    for step in range(STEPS):
        augmented(batch[0], tf.constant([1, step]))
    rates["augmentation alone"] = STEPS * BATCH / (time.perf_counter() - started)
    network = build_network("compact", SIZE, 2)
    network.compile("adam", "categorical_crossentropy", jit_compile=False)
    network.train_on_batch(batch[0], batch[1])  # traces
    started = time.perf_counter()
    for _ in range(STEPS):
        network.train_on_batch(batch[0], batch[1])
    rates["the compact network's training steps"] = STEPS * BATCH / (time.perf_counter() - started)
    return rates


def spent(batches: Iterable[object]) -> float:
    """Return the seconds that it takes to go through all batches."""
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
