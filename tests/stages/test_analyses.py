"""The analyses of stage explore."""

import polars as pl
import pytest

from ml.config.training import TrainingConfig
from ml.flow.exploration import BalanceRow, VerifiedImages
from ml.stages import analyses
from support.explored import box, chip_of, face, verdict

WIDE = (0.0, 1.0, 0.25, 0.5)


def test_good_and_bad_images_are_counted_by_their_verdicts():
    rows = [
        *(("good", "Human face", True), ("good", "Woman", True)),
        *(("bad", "Human face", True), ("bad", "Woman", True), ("bad", "Man", False)),
        *(("both", "Human face", True), ("both", "Woman", True), ("both", "Boy", True)),
        *(("no face", "Woman", True), ("no label", "Human face", True)),
    ]
    found = analyses.verified_images(pl.LazyFrame([verdict(*row) for row in rows]), TrainingConfig())
    assert found == [
        VerifiedImages(label="female", all_positive=2, with_a_negative=1),
        VerifiedImages(label="male", all_positive=1, with_a_negative=0),
    ]


def test_repeated_and_contradicting_verdicts_count_once_and_absent_wins():
    rows = [
        *(("twice", "Human face", True), ("twice", "Woman", True), ("twice", "Woman", True)),
        *(("contradicted", "Human face", True), ("contradicted", "Woman", True), ("contradicted", "Woman", False)),
        *(("girl", "Human face", True), ("girl", "Woman", False), ("girl", "Woman", True), ("girl", "Girl", True)),
    ]
    found = analyses.verified_images(pl.LazyFrame([verdict(*row) for row in rows]), TrainingConfig())
    assert found[0] == VerifiedImages(label="female", all_positive=1, with_a_negative=1)


def test_only_valid_boxes_of_the_chipped_class_are_faces():
    boxes = [box("a", "Human face"), box("a", "Human face", WIDE), box("b", "Human face"), box("b", "Woman")]
    table = pl.LazyFrame([*boxes, box("c", "Human face", valid=False)])
    assert analyses.faces_per_image(table) == {1: 1, 2: 1}
    sizes = analyses.face_sizes(table)
    assert dict(zip(sizes.edges, sizes.faces, strict=False)) == {
        **dict.fromkeys(analyses.SIZE_EDGES[:-1], 0),
        20: 2,  # a quarter of the side
        60: 1,  # all of it
    }


def test_flags_are_counted_by_source():
    table = pl.LazyFrame([box("a", "Human face"), box("b", "Man", group=1), box("c", "Man", source="activemil")])
    found = {(row.source, row.flag): (row.yes, row.no, row.unknown) for row in analyses.boxes_by_source(table)}
    assert found["xclick", "IsGroupOf"] == (1, 1, 0)
    assert found["xclick", "IsInside"] == (0, 0, 2)
    assert found["activemil", "IsTruncated"] == (1, 0, 0)
    assert [source for source, _ in found][:5] == ["activemil"] * 5


def test_the_sample_of_images_does_not_depend_on_the_order_of_rows():
    boxes = [box(f"{number:x}", "Human face") for number in range(40)]
    chosen = analyses.sample_of_images(pl.LazyFrame(boxes), 5)
    assert len(set(chosen)) == 5
    assert analyses.sample_of_images(pl.LazyFrame(boxes[::-1]), 5) == chosen


@pytest.mark.parametrize(("pixels", "name"), [(47.9, "below 48 px"), (48.0, "48 to 64 px"), (160.0, "160 px and more")])
def test_faces_are_balanced_by_size_with_an_edge_in_the_range_above(pixels, name):
    chips = pl.LazyFrame([chip_of(face("a"), pixels, age="Young")])
    found = {part.column: part.rows for part in analyses.balance(chips, {}, ("female", "male"))}
    assert found["face_px"] == (BalanceRow(name=name, faces={"female": 1, "male": 0}),)


def test_faces_are_balanced_by_each_column_that_has_values():
    rows = [chip_of(face("a"), occluded=-1), chip_of(face("b", label="male")), chip_of(face("c"))]
    splits = {"train": {"female": 2, "male": 1}, "test": {"female": 0, "male": 0}}
    table = pl.LazyFrame(rows, schema_overrides={"age_presentation": pl.String})
    found = {part.column: part.rows for part in analyses.balance(table, splits, ("female", "male"))}
    assert list(found) == ["subset", "split", "face_px", "is_occluded"], "no age presentation without MIAP"
    assert [(row.name, row.faces) for row in found["is_occluded"]] == [
        ("not occluded", {"female": 1, "male": 1}),
        ("unknown", {"female": 1, "male": 0}),
    ]
    assert [row.total for row in found["split"]] == [3, 0]
