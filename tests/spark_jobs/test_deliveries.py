"""The Spark stages on a landing: each delivery is processed once, and a later one replaces the images it repeats."""

import csv
import datetime
import hashlib
from pathlib import Path

import pytest

from ml import storage
from ml.errors import DataError
from ml.features.reader import split_table
from ml.photographs.source import SUBSETS
from ml.release import note as note_module
from ml.sample.release import write_sample_release
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs.join_labels import REPLACED
from support.outputs import faults_of
from support.spark_stages import BODIES, do, rows

pytestmark = pytest.mark.slow
MONTHS = ("2020-01-15", "2020-02-15", "2020-03-15")
BOXES = "2018_04/train/train-annotations-bbox.csv"
SMALL = {"min_face_size": 16, "chip_size": 32}
STAGES = tuple(BODIES)


def moment(month):
    return datetime.datetime(2020, month, 1, tzinfo=datetime.UTC)


def keep_only(file: Path, keep) -> None:
    with file.open(newline="") as source:
        header, *lines = csv.reader(source)
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([header, *(line for line in lines if keep(line))])


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    """Two deliveries of different images; the third holds one train image of the first again, with other boxes."""
    folder = tmp_path_factory.mktemp("landing") / "landing"
    for seed, name in enumerate(MONTHS[:2]):
        write_sample_release(folder / name, scenes=30, seed=seed)
    write_sample_release(folder / MONTHS[2], scenes=30, seed=0)
    image = corrected(folder)
    for file in (folder / MONTHS[2]).rglob("*.csv"):
        if "class-descriptions" not in file.name:
            keep_only(file, lambda line: image in line)
    for photo in (folder / MONTHS[2]).rglob("*.jpg"):
        if photo.stem != image:
            photo.unlink()
    # The correction: no face is on it any more, and its photograph is another.
    keep_only(folder / MONTHS[2] / BOXES, lambda line: line[2] != "/m/0dzct")
    photo = folder / MONTHS[2] / "train" / f"{image}.jpg"
    photo.write_bytes(images.encode_jpeg(images.decode(photo.read_bytes())[:, ::-1]))
    for name in MONTHS:
        note_module.seal(str(folder / name))
    return folder


def corrected(landing: Path) -> str:
    """Return the first train image with a labeled face and a readable photograph."""
    with (landing / MONTHS[0] / "truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    photos = {photo.stem for photo in (landing / MONTHS[0] / "train").glob("*.jpg")}
    return min(row["ImageID"] for row in truth if row["kind"] == "labelled" and row["ImageID"] in photos)


def features_digest(spark, run) -> str:
    table = sorted(
        (split, row["face_id"], row["label"], bytes(row["pixels"]))
        for split in SUBSETS
        for row in rows(spark, run, "featurize", split_table(split))
    )
    return hashlib.sha256(repr(table).encode()).hexdigest()


@pytest.fixture(scope="module")
def forwards(spark, landing, tmp_path_factory):
    """Execute one run per month, earliest first, on one storage root."""
    root = tmp_path_factory.mktemp("forwards")
    return [month_run(spark, landing, root, month) for month in (2, 3, 4)]


def month_run(spark, landing, root, month):
    run = open_run(str(root), f"until-{month}", {"release": str(landing), **SMALL}, moment(month))
    return do(spark, run, *STAGES)


def test_backwards_gives_each_month_the_same_features_as_forwards(spark, landing, forwards, tmp_path):
    backwards = [month_run(spark, landing, tmp_path, month) for month in (4, 3, 2)][::-1]
    digests = [features_digest(spark, run) for run in forwards]
    assert digests == [features_digest(spark, run) for run in backwards]
    assert len(set(digests)) == 3


def test_each_delivery_is_extracted_and_chipped_once(forwards):
    root = Path(storage.local_path(forwards[0].root))
    attempts = [path.parent for path in (root / "stages" / "extract").glob("*/attempts/*/classes")]
    assert len(attempts) == 3
    chipped = {part for run in forwards for part in run.pinned("chip").parts.items()}
    january = {uri for name, uri in chipped if name == MONTHS[0]}
    # The correction removes a face of January, so its chips are cut again for the run that sees it, and only for it.
    assert len(january) == 2
    assert len({uri for name, uri in chipped if name == MONTHS[1]}) == 1


def test_the_tables_of_several_deliveries_keep_the_contract_together(forwards):
    assert faults_of(*(forwards[2].pinned(stage) for stage in STAGES)) == []


def test_a_later_delivery_replaces_the_rows_of_an_image_that_it_holds_again(spark, landing, forwards):
    image = corrected(landing)
    before, after = (
        [row for row in rows(spark, run, "join_labels", "faces") if row["image_id"] == image] for run in forwards[1:]
    )
    assert before
    assert not after
    joined = forwards[2].pinned("join_labels")
    assert joined.ledger[REPLACED] == len(before)
    assert sum(joined.ledger.values()) == forwards[2].pinned("extract").metrics["boxes"]["chipped"]
    # Labels and image of the correction hold too, table by table.
    assert joined.metrics["asked"][MONTHS[2]]["faces"] == 0


def test_a_later_delivery_replaces_a_photograph_whose_faces_stay(spark, landing, forwards, tmp_path):
    image = corrected(landing)
    third = tmp_path / "landing"
    for name in MONTHS[:2]:
        (third / name).mkdir(parents=True)
        for path in (landing / name).iterdir():
            (third / name / path.name).symlink_to(path)
    # Rows without a box of the image in `boxes`, so that January's boxes stay; the photograph alone is new.
    write_sample_release(third / MONTHS[2], scenes=30, seed=0)
    for file in (third / MONTHS[2]).rglob("*.csv"):
        if "class-descriptions" not in file.name:
            keep_only(file, lambda line: False)
    for photo in (third / MONTHS[2]).rglob("*.jpg"):
        if photo.stem != image:
            photo.unlink()
    newer = third / MONTHS[2] / "train" / f"{image}.jpg"
    newer.write_bytes((landing / MONTHS[2] / "train" / f"{image}.jpg").read_bytes())
    note_module.seal(str(third / MONTHS[2]))
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(third), **SMALL}, moment(4))
    do(spark, run, "extract", "join_labels", "chip")
    faces = {row["face_id"]: row["delivery"] for row in rows(spark, run, "join_labels", "faces")}
    chips = {row["face_id"]: row["chip"] for row in rows(spark, run, "chip", "chips")}
    earlier = {row["face_id"]: row["chip"] for row in rows(spark, forwards[1], "chip", "chips")}
    assert chips.keys() == earlier.keys()
    changed = {face for face in chips if chips[face] != earlier[face]}
    assert changed
    assert changed == {face for face in chips if face.startswith(image)}
    assert {faces[face] for face in changed} == {MONTHS[2]}


def test_deliveries_that_hold_no_face_at_all_are_refused_together(spark, landing, tmp_path):
    run = open_run(str(tmp_path), "run", {"release": str(landing), "chip_class": "Tree"}, moment(4))
    with pytest.raises(DataError, match="no box of class 'Tree'"):
        do(spark, run, "extract", "join_labels")
