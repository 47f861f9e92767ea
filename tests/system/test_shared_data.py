"""The Spark stages on data that is not the project's own: real faces with known labels, and real photographs.

Both lie in the optional folder `../shared`; where it is absent these tests are skipped and say so.
"""

import csv
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ml.errors import DataError
from ml.features.record import FeaturesRecord
from ml.photographs.source import SUBSETS
from ml.stages.train import check_faces
from ml.vision import images
from ml.workflow.opening import open_run
from support.spark_stages import BODIES, do, key, rows, truth_of

SHARED = Path(__file__).parents[3] / "shared"
FACES, SAMPLE = SHARED / "realfaces", SHARED / "openimages_sample"
EDGES = ("x_min", "x_max", "y_min", "y_max")
pytestmark = pytest.mark.slow


def build(release, *options):
    command = [sys.executable, FACES / "build_release.py", release, *options]
    subprocess.run(list(map(str, command)), check=True)
    return release


@pytest.fixture(scope="module")
def real_faces(tmp_path_factory):
    if not FACES.exists():
        pytest.skip("there is no folder ../shared/realfaces with the builder of releases of real faces")
    release = tmp_path_factory.mktemp("faces") / "release"
    return build(release, "--scenes", "300", "--seed", "1")


@pytest.fixture(scope="module")
def chipped(spark, real_faces, tmp_path_factory):
    run = open_run(str(tmp_path_factory.mktemp("storage")), "faces", {"release": str(real_faces)})
    return do(spark, run, "extract", "join_labels", "chip")


def test_labels_by_box_are_right_and_most_faces_get_one(spark, chipped, real_faces):
    truth = {
        key(row["ImageID"], *(row[e] for e in ("XMin", "XMax", "YMin", "YMax"))): row for row in truth_of(real_faces)
    }
    faces = {key(r["image_id"], *(r[e] for e in EDGES)): r for r in rows(spark, chipped, "join_labels", "faces")}
    assert faces.keys() == truth.keys()
    assert sum(chipped.pinned("join_labels").ledger.values()) == len(truth)
    given = {place: face["label"] for place, face in faces.items() if face["label"]}
    right = sum(label == truth[place]["label"] for place, label in given.items())
    assert right >= 0.995 * len(given)
    assert not [place for place in given if truth[place]["kind"] != "labelled"]

    chips = {row["face_id"] for row in rows(spark, chipped, "chip", "chips")}
    readable = {image for image in {place[0] for place in truth} if whole(real_faces, truth, image)}
    expected = [p for p, row in truth.items() if row["kind"] == "labelled" and p[0] in readable]
    assert sum(faces[place]["face_id"] in chips for place in expected) >= 0.95 * len(expected)


def test_agreement_with_miap_is_what_the_files_say(chipped, spark, real_faces):
    """Told without geometry: the builder writes the people of an image in the same order into MIAP and the truth."""
    words = {"Predominantly Feminine": "female", "Predominantly Masculine": "male"}
    faces = {key(r["image_id"], *(r[e] for e in EDGES)): r for r in rows(spark, chipped, "join_labels", "faces")}
    truth, people = defaultdict(list), defaultdict(list)
    for row in truth_of(real_faces):
        truth[row["ImageID"]].append(row)
    for file in (real_faces / "open_images_extended_miap").iterdir():
        with file.open() as lines:
            for row in csv.DictReader(lines):
                people[row["ImageID"]].append(row)
    expected = {subset: Counter() for subset in SUBSETS}
    for image, there in truth.items():
        for real, person in zip(there, people[image], strict=True):
            face = faces[key(image, *(real[e] for e in ("XMin", "XMax", "YMin", "YMax")))]
            if face["label"]:
                said = words.get(person["GenderPresentation"])
                assert (face["miap_label"], face["age_presentation"]) == (said, person["AgePresentation"])
                verdict = "agree" if said == face["label"] else "disagree" if said else "miap unknown"
                expected[real["Subset"]][verdict] += 1
    table = chipped.pinned("join_labels").metrics["miap"]
    assert {subset: +Counter(table[subset]["box"]) for subset in SUBSETS} == expected
    assert all(table[subset]["box"]["agree"] > table[subset]["box"]["disagree"] == 0 for subset in SUBSETS)
    # On a mixed scene of which only one label was verified, the image's label is somebody else's.
    assert sum(table[subset]["image"]["disagree"] for subset in SUBSETS) > 0


def whole(release, truth, image):
    subset = next(row["Subset"] for place, row in truth.items() if place[0] == image)
    try:
        return images.decode((release / subset / f"{image}.jpg").read_bytes()) is not None
    except (FileNotFoundError, images.UnreadableImageError):
        return False


def test_real_photographs_are_chipped_and_training_says_what_it_lacks(spark, tmp_path):
    if not SAMPLE.exists():
        pytest.skip("there is no folder ../shared/openimages_sample with real photographs and their rows")
    run = do(spark, open_run(str(tmp_path), "sample", {"release": str(SAMPLE)}), *BODIES)
    with (SAMPLE / "train-annotations-bbox.csv").open() as file:
        faces = [row for row in csv.DictReader(file) if row["LabelName"] == "/m/0dzct"]
    kept = rows(spark, run, "join_labels", "faces")
    assert sum(row["subset"] == "train" for row in kept) == len(faces)
    assert run.pinned("chip").ledger["chipped"] == len(kept) == 4
    with pytest.raises(DataError, match=r"train 0 female, 2 male \(needed: 20 each\)"):
        check_faces(run.pinned("featurize").record(FeaturesRecord), run.config.min_faces)


def test_every_fault_planted_in_real_faces_is_quarantined_by_name_and_nothing_else(spark, tmp_path):
    if not FACES.exists():
        pytest.skip("there is no folder ../shared/realfaces with the builder of releases of real faces")
    release = build(tmp_path / "release", "--scenes", "60", "--dirty")
    boxes = "2018_04/train/train-annotations-bbox.csv"
    lines = (release / boxes).read_text().splitlines()
    run = do(spark, open_run(str(tmp_path / "storage"), "dirty", {"release": str(release)}), "extract")
    found = [tuple(row.values()) for row in rows(spark, run, "extract", "quarantine")]
    first, good = len(lines) - 4, lines[1].split(",")
    place = ("boxes", boxes)
    assert found == [
        (*place, first, "edges in the wrong order", "XMin,XMax", f"{good[5]},{good[4]}"),
        (*place, first + 1, "outside the range", "XMin", "-0.2"),
        (*place, first + 1, "outside the range", "XMax", "1.4"),
        (*place, first + 2, "not a number", "XMin", "nan"),
        (*place, first + 2, "missing value", "XMax", ""),
        (*place, first + 3, "class not described", "LabelName", "/m/unknown"),
        (*place, first + 4, "header inside the file", None, lines[0]),
    ]


def test_real_faces_without_planted_faults_have_an_empty_quarantine(spark, chipped):
    assert rows(spark, chipped, "extract", "quarantine") == []
