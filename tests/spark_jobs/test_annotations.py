"""The rows of the annotation files: typed, kept by class, and counted."""

from ml.release.contract import FLAGS, MIAP_FLAGS, Rule
from ml.release.parse import Missing
from spark_jobs.annotations import Counts, flag_column
from support.blocks import HEADERS, A, B, C, typed
from support.spark_stages import MIDS

FACE, MAN, CAT = MIDS["Human face"], MIDS["Man"], "/m/01yrx"


def rows(table, *lines, **names):
    return typed(table, *lines, **names).rows.to_pylist()


def test_columns_are_read_by_name_and_a_missing_rotation_is_unknown():
    names = ("Title", "ImageID", "Subset", "OriginalLandingURL", "License", "Author", "More")
    (row,) = rows("images", f"t,{A},train,u,l,w,1", names=names)
    expected = {"image_id": A, "rotation": None, "landing_url": "u", "license": "l", "author": "w", "title": "t"}
    assert row == {**expected, "subset": "train", "delivery": "release"}


def test_a_rotation_is_0_90_180_or_270_or_unknown():
    lines = [f"{A},train,o,u,l,p,a,t,1,m,n,{rotation}" for rotation in ("0", "270.0", "45", "x", "")]
    found = typed("images", *lines)
    assert found.rows["rotation"].to_pylist() == [0, 270, None, None, None]
    assert (found.counts.rotation_unknown, found.counts.turned) == (3, 1)


def test_a_box_is_valid_or_not():
    cases = [
        (A, "0.1,0.2,0.1,0.2", "0,0,0,0,0", True),
        (A, "0,1,0,1", "-1,-1,-1,-1,-1", True),
        (A, "0.2,0.1,0.1,0.2", "0,0,0,0,0", False),
        (A, "-0.2,1.4,0.1,0.2", "0,0,0,0,0", False),
        (A, "nan,0.5,0.1,0.2", "0,0,0,0,0", False),
        (A, ",0.5,0.1,0.2", "0,0,0,0,0", False),
        (A, "XMin,XMax,YMin,YMax", "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside", False),
        (A, "0.1,0.2,0.1,0.2", "2,0,0,0,0", False),
        (A, "0.1,0.2,0.1,0.2", "0,0,,0,0", False),
        ("", "0.1,0.2,0.1,0.2", "0,0,0,0,0", False),
        ("00aa", "0.1,0.2,0.1,0.2", "0,0,0,0,0", False),
    ]
    for image, edges, flags, valid in cases:  # each in a block of its own, and then all in one
        (row,) = rows("boxes", f"{image},xclick,{FACE},1,{edges},{flags}")
        assert row["valid"] == valid, (image, edges, flags)
    found = typed("boxes", *(f"{image},xclick,{FACE},1,{edges},{flags}" for image, edges, flags, _ in cases))
    assert found.rows["valid"].to_pylist() == [valid for *_, valid in cases]
    assert found.rows["is_occluded"].to_pylist() == [0, -1, 0, 0, 0, 0, None, None, 0, 0, 0]
    counts = found.counts
    assert (counts.rows, counts.kept, counts.invalid, counts.kept_invalid, counts.quarantined) == (11, 11, 9, 9, 9)


def test_boxes_of_the_configured_classes_are_kept_and_all_are_counted():
    box = f"{A},xclick,{{}},1,0.1,0.2,0.1,0.2,0,0,0,0,0"
    classes = (FACE, MAN, CAT, "/m/unknown", "")
    found = typed("boxes", *map(box.format, classes), ",".join(HEADERS["boxes"]), "too,few")
    assert [(row["name"], row["label"], row["chipped"]) for row in found.rows.to_pylist()] == [
        ("Human face", None, True),
        ("Man", "male", False),
    ]
    counts = found.counts
    assert (counts.rows, counts.kept, counts.chipped, counts.unknown_class, counts.without_class) == (7, 2, 1, 1, 3)
    assert counts.by_rule == {Rule.HEADER: 1, Rule.CLASS: 1, Rule.MISSING: 1, Rule.FIELDS: 1}


def test_labels_are_kept_as_published_and_their_images_counted_once():
    lines = [f"{A},v,{FACE},1", f"{A},c,{FACE},0", f"{A},v,{FACE},1", f"{B},v,{FACE},1", f"{C},v,{FACE},x"]
    found = typed("labels", *lines, f"{A},v,{CAT},1", f"00aa,v,{FACE},1", f"{B},v,/m/unknown,0")
    kept = [(row["image_id"], row["positive"]) for row in found.rows.to_pylist()]
    assert kept == [(A, True), (A, False), (A, True), (B, True)]
    # An absent class wins over a present one.
    assert found.verdicts == {FACE: (1, 1), CAT: (1, 0), "/m/unknown": (0, 1)}
    assert (found.counts.repeated, found.counts.no_verdict, found.counts.unknown_class) == (2, 1, 1)


def test_miap_boxes_are_typed_and_words_that_are_none_of_miaps_are_unknown():
    found = typed(
        "miap",
        f"{A},/m/01g317,1,0.1,0.2,0.3,0.4,0,1,-1,1,0,Predominantly Feminine,Older",
        f"{B},/m/01g317,1,0.1,0.2,0.4,0.3,0,0,0,0,0,female,",
        f"{C},{CAT},1,0.1,0.2,0.3,0.4,0,0,0,0,0,Unknown,Unknown",
    )
    first, second = found.rows.to_pylist()
    flags = {"is_occluded": 0, "is_truncated": 1, "is_group_of": -1, "is_depiction": 1, "is_inside": 0}
    words = {"gender_presentation": "Predominantly Feminine", "age_presentation": "Older"}
    edges = {"x_min": 0.1, "x_max": 0.2, "y_min": 0.3, "y_max": 0.4}
    place = {"image_id": A, "subset": "train", "delivery": "release"}
    assert first == {**place, "valid": True, **flags, **words, **edges}
    assert (second["valid"], second["gender_presentation"], second["age_presentation"]) == (False, "Unknown", "Unknown")
    counts = found.counts
    assert (counts.other_classes, counts.no_gender_presentation, counts.no_age_presentation) == (1, 1, 1)


def test_an_unusable_presentation_leaves_the_box_valid():
    (row,) = rows("miap", f"{A},/m/01g317,1,0.1,0.2,0.3,0.4,0,0,0,0,0,female,Older")
    assert (row["valid"], row["gender_presentation"]) == (True, "Unknown")


def test_flags_have_the_same_names_in_both_tables_of_boxes():
    assert list(map(flag_column, FLAGS)) == list(map(flag_column, MIAP_FLAGS))
    assert list(map(flag_column, FLAGS))[2] == "is_group_of"


def test_a_column_that_one_file_lacks_is_null_in_all_of_its_rows():
    counts = Counts()
    counts.add(Counts(rows=3, missing={"ImageID": Missing(0, 0, 0)}))
    counts.add(Counts(rows=2, missing={"ImageID": Missing(1, 0, 0), "Rotation": Missing(0, 1, 0)}))
    counts.add(Counts(rows=4, missing={"ImageID": Missing(0, 0, 0)}))
    assert counts.rows == 9
    assert counts.missing == {"ImageID": Missing(1, 0, 0), "Rotation": Missing(7, 1, 0)}
