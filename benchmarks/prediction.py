"""Measure prediction: the bulk job end to end, its parts in one process, and single photographs.

    python benchmarks/prediction.py [--scenes 500] [--model NAME_OR_PATH] [--storage URI]

The photographs are scenes with real faces from the optional folder of test data `../shared/realfaces`, or drawn scenes
without it, which the output says. The model is the champion or the newest one, such as that of `make demo`.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chips import make_release
from jobs import ROOT, prepare, submit, work

PARTS = ("read and decode", "detect", "cut and store chips", "classify and flag")
DETECTORS = ("blazeface-full", "cvlib")  # the default, and the one before it
WARM = 30  # photographs to warm up with


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="scenes to make photographs of")
    parser.add_argument("--model", help="the model, as `ml predict` takes it")
    parser.add_argument("--storage", default=str(ROOT / "var" / "storage"), help="storage root that has the model")
    arguments = parser.parse_args()
    prepare()
    from ml.config.deployment import Deployment
    from ml.prediction.run import choose_model

    model = choose_model(arguments.storage, arguments.model, Deployment().defaults)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = make_release(folder / "release", arguments.scenes) / "train"  # the largest subset
        bulk(folder, photographs, model)
        # In another process, because this one's TensorFlow has fixed its number of threads.
        process = multiprocessing.get_context("spawn").Process(target=parts, args=(photographs, model))
        process.start()
        process.join()
    return process.exitcode or 0


def bulk(folder: Path, photographs: Path, model: str) -> None:
    """Print the speed of the job on all and on half of the photographs; the difference excludes the start."""
    from ml.config.deployment import Deployment
    from ml.prediction.run import open_prediction

    half = folder / "half"
    half.mkdir()
    for photo in sorted(photographs.glob("*.jpg"))[::2]:
        (half / photo.name).symlink_to(photo)
    print("| bulk job | photographs | with faces | faces | seconds | photographs/s |\n|---|---|---|---|---|---|")
    measured = []
    for name, place in (("half", half), ("all", photographs)):
        values = {"photographs": str(place), "model": model, "max_fault_share": 1.0}
        run = open_prediction(str(folder / "storage"), name, values, Deployment())
        seconds = submit("predict", run.uri).seconds
        manifest = run.pinned("predict")
        count, faces = manifest.metrics["photographs"], sum(manifest.metrics["faces"].values())
        measured.append((count, work(manifest)))
        counts = f"{count} | {manifest.ledger['classified']} | {faces}"
        print(f"| {name}: whole spark-submit, 2 cores | {counts} | {seconds:.1f} | {count / seconds:.1f} |")
        worked = work(manifest)
        print(f"| {name}: without the JVM's start | {counts} | {worked:.1f} | {count / worked:.1f} |")
    (few, short), (many, long) = measured
    print(f"| each more photograph | {many - few} | | | {long - short:.1f} | {(many - few) / (long - short):.1f} |\n")


def parts(photographs: Path, model: str) -> None:
    """Print milliseconds per photograph for each part in one process with one thread, and for single photographs."""
    photos = sorted(photographs.glob("*.jpg"))
    measured = {}
    for name in DETECTORS:
        measure(photos[:WARM], model, name)
        measured[name] = measure(photos, model, name)
    used = min(map(len, measured.values()))
    print(f"| one process, one thread, {used} photographs | {' | '.join(DETECTORS)} |\n|---|{'---|' * len(DETECTORS)}")
    for part in PARTS:
        means = (statistics.mean(times[part] for times in seconds) for seconds in measured.values())
        print(f"| {part}, ms a photograph | {' | '.join(f'{1000 * mean:.1f}' for mean in means)} |")
    totals = {name: sorted(1000 * sum(times.values()) for times in seconds) for name, seconds in measured.items()}
    for title, value in (
        ("all parts, mean", statistics.mean),
        ("all parts, median", statistics.median),
        ("all parts, 95th percentile", lambda every: every[int(0.95 * len(every))]),
    ):
        print(f"| {title} | {' | '.join(f'{value(every):.1f}' for every in totals.values())} |")


def measure(photos: list[Path], model: str, detector: str) -> list[dict[str, float]]:
    """Return the seconds of each part, for each readable photograph."""
    from ml.prediction.finder import load_finder
    from ml.prediction.finding import Finding
    from ml.prediction.predictor import worker_predictor
    from ml.vision.detection import decode_upright
    from ml.vision.images import UnreadableImageError

    predictor = worker_predictor(model, 0.75)
    finder = load_finder(Finding(detector), predictor.description.box_aspect)
    measured = []
    for path in photos:
        times = [time.perf_counter()]
        try:
            photo = decode_upright(path.read_bytes())
        except UnreadableImageError:
            continue
        times.append(time.perf_counter())
        faces = finder.detect(photo)
        times.append(time.perf_counter())
        boxes = [face.rectangle() for face in faces]
        chips = [predictor.cut_chip(photo, box, face.rotation) for box, face in zip(boxes, faces, strict=True)]
        times.append(time.perf_counter())
        predictor.answer(chips, boxes)
        times.append(time.perf_counter())
        measured.append({part: b - a for part, a, b in zip(PARTS, times, times[1:], strict=False)})
    return measured


if __name__ == "__main__":
    sys.exit(main())
