"""Compare training in the pipeline with a bare `model.fit` on arrays in memory, and measure its memory.

    python benchmarks/training.py [--faces 4000] [--networks compact notebook]

`speed`: images per second of an epoch's training steps. It compares stage train's loop, which reads the features'
shards and averages the weights, with Keras' `fit` on the same chips as arrays in memory, with the same network,
optimizer and batches. Both run without augmentation, mixing, label smoothing, balance, validation and epochs on smaller
chips. A third row adds augmentation and mixing to the loop.
`memory`: the peak resident size of a training process on 2,000 and on 20,000 faces.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

BATCH = 64
BARE, WAITING = "bare `fit` on arrays, to its last step", "bare `fit` on arrays, until it returns"


def main() -> int:
    """Run the benchmarks and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=4000, help="faces for compact; a tenth for notebook")
    parser.add_argument("--networks", nargs="*", default=["compact", "notebook"])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory_of:
            print(peak_megabytes(Path(folder), arguments.memory_of))
            return 0
        print(
            f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, "
            f"Python {platform.python_version()}\n"
        )
        print("| network | method | images/s | of the bare loop |\n|---|---|---|---|")
        for name in arguments.networks:
            faces = arguments.faces if name == "compact" else arguments.faces // 10
            speed(Path(folder, name), name, faces, 224 if name == "notebook" else 96)
    print("\n| faces | peak resident size, MB |\n|---|---|")
    for faces in (2000, 20000):
        command = [sys.executable, __file__, "--memory-of", str(faces)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"| {faces:,} | {done.stdout.split()[-1]} |", flush=True)
    return 0


def features_of(folder: Path, faces: int, size: int):
    """Make a features attempt with the given number of training faces."""
    from support.features import make_features

    return make_features(folder, {"train": (faces // 2, faces // 2), "validation": (64, 64), "test": (8, 8)}, size, 4)


def speed(folder: Path, name: str, faces: int, size: int) -> None:
    """Print images per second of a bare loop and of the pipeline, in alternating epochs after one for warm-up."""
    import keras
    import numpy as np

    from ml.features.feed import Feed
    from ml.features.reader import FeatureReader
    from ml.networks.table import build_network
    from ml.training.callbacks import EpochProgress, epoch_callbacks
    from ml.training.checkpoints import Checkpoints, Position
    from ml.training.fit import Fit
    from support.features import make_run

    features = features_of(folder, faces, size)
    reader = FeatureReader(features, "train", seed=1)
    batches = list(reader.batches(BATCH))
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.eye(2, dtype=np.float32)[np.concatenate([batch.labels for batch in batches])]
    network = build_network(name, size, 2)
    plain, changing = Feed(reader, BATCH), Feed(reader, BATCH, augment=True, mixing=0.5)
    averaging = 0.0 if name == "notebook" else 0.998  # the setting with which each is trained
    run = make_run(folder, features, database=False, network=name, batch_size=BATCH, averaging=averaging)
    config = run.config
    checkpoints = Checkpoints(f"file://{folder}/checkpoints")
    validation = Feed(FeatureReader(features, "validation"), BATCH)
    fit = Fit(config, network, plain, validation, checkpoints, False, lambda history: None)
    fit._compile(0)

    def epoch_of(feed: Feed, epoch: int) -> None:
        progress = EpochProgress(feed, 1, Position(), time.monotonic())
        callbacks = epoch_callbacks(progress, config, fit.average, checkpoints)
        network.fit(feed.dataset(epoch), shuffle=False, verbose=0, callbacks=callbacks)

    class Steps(keras.callbacks.Callback):
        """Stores the time at which the last step ended."""

        ended = 0.0

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.ended = time.perf_counter()

    steps = Steps()
    ways = {
        # Ends at the last step, in its favor: after it, `fit` may wait for tf.data's tuner, see `Feed.dataset`.
        BARE: lambda epoch: network.fit(pixels, labels, batch_size=BATCH, verbose=0, callbacks=[steps]),
        "pipeline": lambda epoch: epoch_of(plain, epoch),
        "pipeline with augmentation and mixing": lambda epoch: epoch_of(changing, epoch),
    }
    seconds: dict[str, list[float]] = {way: [] for way in (BARE, WAITING, *list(ways)[1:])}
    for turn in range(4):
        for way, work in ways.items():
            started = time.perf_counter()
            work(turn)
            if not turn:  # the first turn traces the network
                continue
            whole = time.perf_counter() - started
            if way == BARE:
                seconds[BARE].append(steps.ended - started)
                seconds[WAITING].append(whole)
            else:
                seconds[way].append(whole)
    rates = {way: faces / min(times) for way, times in seconds.items()}
    bare = rates[BARE]
    for way, rate in rates.items():
        print(f"| {name} | {way} | {rate:.0f} | {rate / bare:.0%} |", flush=True)


def peak_megabytes(folder: Path, faces: int) -> int:
    """Return the peak resident size in MB of this process after it trains the compact network for one epoch."""
    from ml.stages.train import train
    from support.features import make_context, make_run

    # Make the chips in another process, so that they do not count.
    code = (
        f"from training import features_of; from pathlib import Path; features_of(Path({str(folder)!r}), {faces}, 96)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent, capture_output=True)
    from ml.workflow import layout
    from ml.workflow.manifest import load_manifest

    attempt = layout.attempt_uri(layout.key_uri(f"file://{folder}", "featurize", "0f"), "first")
    run = make_run(folder, load_manifest(attempt), epochs=1, batch_size=BATCH)
    train(make_context(run))
    # Not `ru_maxrss`, which starts at the value of the parent process.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


if __name__ == "__main__":
    sys.exit(main())
