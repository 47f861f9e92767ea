"""Measure whether chips aligned by a detector's landmarks are answered better: `make bench BENCH=alignment`.

    python benchmarks/alignment.py [--folder DIR]

Takes the runs that `transfer.py` left in its folder. Cuts the chips of their test faces from photographs that are
turned by several angles, in four ways: by the annotated box; by the default detector's box, as a prediction does; by
the detector's box after its eyes are leveled; and by its landmarks alone. The last way turns, scales and moves the face
so that its landmarks lie as near as can be (least squares) to where they lie on average in the annotated boxes of the
validation faces. A face that the detector misses keeps its annotated box, in each way.

Trains nothing: without a run in the folder it says so and stops. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jobs import ROOT, prepare
from kinds import Kind, SplitFaces, show
from numpy.typing import NDArray
from predicted import trained
from transfer import scores

if TYPE_CHECKING:
    from ml.vision.detection import FaceFinder
    from ml.vision.detectors.face import Edges, Face
    from ml.vision.images import Pixels
    from ml.workflow.run import Run

TURNS = (-30, -15, 0, 15, 30)  # degrees, counterclockwise
WAYS = ("annotated box", "detector's box", "its box, eyes leveled", "its landmarks")


@dataclass(frozen=True)
class Cut:
    """Where a chip is cut: a box in pixels, after the photograph is turned about its center, counterclockwise."""

    box: Edges
    degrees: float = 0.0


def main() -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-learning", help="transfer's folder")
    arguments = parser.parse_args()
    prepare()
    cv2.setNumThreads(1)
    runs = trained(arguments.folder)
    if not runs:
        print(f"skipped, because {arguments.folder} has no finished training of transfer.py")
    for run in runs:
        print(f"{run.run_id}:\n")
        align(run)
    return 0


def align(run: Run) -> None:
    """Print the accuracy of a run's model for each angle and way."""
    from ml.prediction.finder import load_finder
    from ml.prediction.finding import DEFAULT
    from ml.prediction.predictor import load_predictor

    predictor = load_predictor(run.pinned("train").uri, 0.5)
    finder = load_finder(DEFAULT, predictor.description.box_aspect)
    mean, tilts = reference(run, finder)
    print(
        f"The eyes of the validation faces are tilted by {np.std(tilts):.1f} degrees (standard deviation), by "
        f"{np.percentile(np.abs(tilts), 95):.0f} at most in 95 of 100.\n"
    )
    faces = SplitFaces(run, "test")
    print(f"| turned by | found | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}")
    for turn in TURNS:
        chips: list[list[Pixels]] = [[] for _ in WAYS]
        found = 0
        for photo, box, _ in faces.photographs():
            shown, (x_min, x_max, y_min, y_max) = show(photo, box, Kind("", turn=turn))
            height, width = shown.shape[:2]
            edges = (x_min * width, y_min * height, x_max * width, y_max * height)
            face = nearest(finder.detect(shown), edges)
            found += face is not None
            for each, place in zip(chips, places(face, edges, mean), strict=True):
                each.append(cut(shown, place, predictor.description.chip_size, predictor.description.margin))
        cells = []
        for each in chips:
            boxes = [(0, 0, 1000, 1000)] * len(each)  # only the size of faces depends on them
            scored, _, _ = scores(predictor, faces, np.stack(each), boxes)
            cells.append(f"{scored.accuracy.defined:.3f} (gap {scored.recall_gap.defined:.3f})")
        print(f"| {turn:+} degrees | {found / len(faces.truth):.1%} | {' | '.join(cells)} |", flush=True)
    print()


def reference(run: Run, finder: FaceFinder) -> tuple[NDArray[np.complex128], list[float]]:
    """Return where landmarks lie on average in the annotated boxes of a run's validation faces, and how eyes tilt.

    Returns:
        The landmarks as x + yi, as shares of the box; and the clockwise tilt of each face's eyes in degrees.
    """
    found, tilts = [], []
    for photo, (x_min, x_max, y_min, y_max), _ in SplitFaces(run, "validation").photographs():
        height, width = photo.shape[:2]
        face = nearest(finder.detect(photo), (x_min * width, y_min * height, x_max * width, y_max * height))
        if face is not None:
            points = landmarks(face)
            corner, size = complex(x_min * width, y_min * height), (x_max - x_min) * width
            found.append((points - corner) / size)
            tilts.append(tilt(points))
    return np.mean(found, axis=0), tilts


def nearest(faces: list[Face], box: Edges) -> Face | None:
    """Return the face that overlaps a box most, with an IoU of 0.25 at least; None without one."""
    from ml.vision.detectors.face import Face, overlap

    if not faces:
        return None
    shares = overlap(Face(box, 1.0), faces)
    return faces[int(shares.argmax())] if shares.max() >= 0.25 else None


def landmarks(face: Face) -> NDArray[np.complex128]:
    """Return a face's landmarks as x + yi."""
    assert face.landmarks is not None  # BlazeFace gives them
    return np.array([complex(x, y) for x, y in face.landmarks])


def tilt(points: NDArray[np.complex128]) -> float:
    """Return by how many degrees, clockwise, the line from the right eye to the left one is turned."""
    return math.degrees(float(np.angle(points[1] - points[0])))


def places(face: Face | None, edges: Edges, mean: NDArray[np.complex128]) -> tuple[Cut, Cut, Cut, Cut]:
    """Return where each of `WAYS` cuts a face."""
    if face is None:
        return (Cut(edges),) * 4
    points = landmarks(face)
    # The similarity a z + b that brings the mean landmarks nearest to the face's.
    (a, b), *_ = np.linalg.lstsq(np.stack([mean, np.ones_like(mean)], axis=1), points, rcond=None)
    center, half = a * (0.5 + 0.5j) + b, abs(a) / 2
    square = (center.real - half, center.imag - half, center.real + half, center.imag + half)
    return Cut(edges), Cut(face.box), Cut(face.box, tilt(points)), Cut(square, math.degrees(float(np.angle(a))))


def cut(photo: Pixels, place: Cut, side: int, margin: float) -> Pixels:
    """Cut a chip as the network takes it, shape (side, side, 3)."""
    from ml.vision import images

    left, top, right, bottom = place.box
    height, width = photo.shape[:2]
    if place.degrees:
        center = ((left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5)
        matrix = cv2.getRotationMatrix2D(center, place.degrees, 1.0)
        photo = np.asarray(cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    box = (left / width, right / width, top / height, bottom / height)
    return images.decode_chip(images.encode_jpeg(images.cut_chip(photo, box, margin)), side)


if __name__ == "__main__":
    sys.exit(main())
