"""Stage chip: which photographs it reads, and what its chips show."""

import csv

import numpy as np
import pytest

from ml.errors import DataError
from ml.flow.table import STAGES
from ml.photographs.source import SUBSETS
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs import chipping
from support.chips import chipping_of, face_table
from support.spark_stages import do, rows


def test_chips_and_their_ledger(spark, done):
    manifest, labelled = done.pinned("chip"), done.pinned("join_labels").ledger["labelled"]
    assert sum(manifest.ledger.values()) == labelled
    assert manifest.ledger["image absent"] > 0
    assert manifest.ledger["image unreadable"] > 0
    chips = rows(spark, done, "chip", "chips")
    assert len(chips) == manifest.ledger["chipped"]
    for row in chips:
        pixels = images.decode(row["chip"])
        assert pixels.shape[0] == pixels.shape[1] <= images.STORED_SIDE
        assert row["face_px"] >= 24


def test_chips_of_photographs_stored_turned_are_upright(release_copy):
    """Each photograph is replaced by one that is red above and blue below once it is turned by its Rotation."""
    turned = {}
    for listing in release_copy.rglob("*with-rotation.csv"):
        with listing.open() as file:
            turned |= {row["ImageID"]: int(float(row["Rotation"] or 0)) for row in csv.DictReader(file)}
    upright = np.zeros((600, 600, 3), np.uint8)
    upright[:300, :, 0] = upright[300:, :, 2] = 250
    for photo in [path for subset in SUBSETS for path in (release_copy / subset).glob("*.jpg")]:
        photo.write_bytes(images.encode_jpeg(np.rot90(upright, -turned[photo.stem] // 90)))
    boxes = [
        (image, subset, 0.3, 0.7, 0.3, 0.7, rotation)
        for subset in SUBSETS
        for image, rotation in turned.items()
        if (release_copy / subset / f"{image}.jpg").exists()
    ]
    names = ("image_id", "subset", "x_min", "x_max", "y_min", "y_max", "rotation")
    faces = face_table(dict(zip(names, row, strict=True)) for row in boxes)
    chips, _ = chipping.cut_faces(faces, chipping_of(release_copy))
    assert set(chips.column("rotation").to_pylist()) == {0, 90, 180, 270}
    for row in chips.to_pylist():
        pixels = images.decode(row["chip"]).astype(int)
        half = len(pixels) // 2
        above, below = pixels[: half - 4].mean(axis=(0, 1)), pixels[half + 4 :].mean(axis=(0, 1))
        assert above[0] > 200 > 50 > above[2], row["rotation"]
        assert below[2] > 200 > 50 > below[0], row["rotation"]


def test_too_many_absent_photographs_stop_the_run(spark, release_copy, tmp_path):
    for photo in (release_copy / "train").glob("*.jpg"):
        photo.unlink()
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=r"image absent \(for example train/[0-9a-f]{16}\.jpg\)"):
        do(spark, run, "extract", "join_labels", "chip")
    assert run.find_or_adopt(STAGES["chip"]) is None
