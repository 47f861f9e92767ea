"""A release of real portraits, one per image, for the benchmarks of learning; made from the optional test data."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ml.photographs.source import SUBSETS
from ml.release.contract import TABLES

FACES = Path(__file__).resolve().parents[2] / "shared" / "realfaces" / "faces.parquet"
CLASSES = {"Human face": "/m/0dzct", "Man": "/m/04yx4", "Woman": "/m/03bt1vf", "Boy": "/m/01bl7v", "Girl": "/m/05r655"}
PERSON = {"male": "Man", "female": "Woman"}
FACE = (0.15, 0.85, 0.15, 0.85)  # x_min, x_max, y_min, y_max of the face in each portrait


def image_id(name: str) -> str:
    """Return the ImageID of the portrait with this name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def write_portraits(folder: Path, flipped: Collection[str] = ()) -> int:
    """Write a release whose images are the portraits, all in subset train: the split is by digest of ImageID.

    Args:
        folder: The release folder.
        flipped: ImageIDs of the portraits that get the other label.

    Returns:
        The number of portraits.
    """
    import pyarrow.parquet as pq

    rows: dict[str, list[list[Any]]] = {"boxes": [], "labels": [], "images": []}
    (folder / "train").mkdir(parents=True)
    faces = pq.read_table(FACES).to_pylist()
    for face in faces:
        image = image_id(face["name"])
        (folder / "train" / f"{image}.jpg").write_bytes(face["jpeg"])
        given = {"male": "female", "female": "male"}[face["label"]] if image in flipped else face["label"]
        person = CLASSES[PERSON[given]]
        for mid, box in ((CLASSES["Human face"], FACE), (person, (0, 1, 0, 1))):
            rows["boxes"].append([image, "xclick", mid, 1, *box, 0, 0, 0, 0, 0])
            rows["labels"].append([image, "verification", mid, 1])
        rows["images"].append([image, "train", "", "https://creativecommons.org/licenses/by/4.0/", "", ""])
    for subset in SUBSETS:
        for table, name in (
            ("boxes", f"{subset}-annotations-bbox.csv"),
            ("labels", f"{subset}-annotations-human-imagelabels-boxable.csv"),
            ("images", f"{subset}-images.csv"),
        ):
            with (folder / name).open("w", newline="") as file:
                csv.writer(file).writerows([TABLES[table].required, *(rows[table] if subset == "train" else [])])
    with (folder / "class-descriptions-boxable.csv").open("w", newline="") as file:
        csv.writer(file).writerows((mid, name) for name, mid in CLASSES.items())
    return len(faces)
