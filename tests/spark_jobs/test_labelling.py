"""The label strategies: why a face has its label, or none."""

import pytest

from ml.features.columns import EDGES
from spark_jobs.faces import label_faces
from support.spark_stages import ELSEWHERE, FACE, PERSON, box, joined, settings, whole_images

HALF, WIDE = (0.45, 0.6, 0.0, 0.9), (0.0, 1.0, 0.0, 1.0)


BOX_CASES = [  # person boxes, the face's own flags, verified negatives; the reason and the label
    ([("Woman", PERSON)], {}, [], "labelled", "female"),
    ([("Boy", PERSON)], {}, [], "labelled", "male"),
    ([("Boy", PERSON, {"group": -1, "depiction": -1, "source": "activemil"})], {}, [], "labelled", "male"),
    ([], {}, [], "no person box", None),
    ([("Woman", ELSEWHERE)], {}, [], "no person box", None),
    ([("Woman", HALF)], {}, [], "no person box", None),
    ([("Woman", PERSON, {"group": 1})], {}, [], "no person box", None),
    ([("Woman", PERSON, {"depiction": 1})], {}, [], "no person box", None),
    ([("Woman", PERSON, {"valid": False})], {}, [], "no person box", None),
    ([("Woman", PERSON), ("Man", (0.0, 1.0, 0.0, 1.0))], {}, [], "two labels", None),
    ([("Woman", PERSON), ("Girl", (0.0, 1.0, 0.0, 1.0))], {}, [], "labelled", "female"),
    ([("Woman", PERSON)], {}, ["Woman"], "contradicted by a verified negative", None),
    ([("Woman", PERSON)], {}, ["Girl", "Man"], "labelled", "female"),
    ([("Woman", PERSON), ("Girl", (0.0, 1.0, 0.0, 1.0))], {}, ["Girl"], "labelled", "female"),
    ([("Woman", PERSON)], {"group": 1}, [], "group", None),
    ([("Woman", PERSON)], {"depiction": 1}, [], "depiction", None),
    ([("Woman", PERSON)], {"group": -1, "depiction": -1}, [], "labelled", "female"),
    ([("Woman", PERSON)], {"valid": False}, [], "invalid box", None),
]


@pytest.fixture(scope="module")
def labelled_by_box():
    """All cases at once, an image each."""
    boxes, verdicts = [], []
    for number, (people, face, negatives, *_) in enumerate(BOX_CASES):
        boxes.append(box(f"case{number}", "Human face", FACE, **face))
        for name, edges, *extra in people:
            boxes.append(box(f"case{number}", name, edges, **(extra[0] if extra else {})))
        verdicts += [(f"case{number}", name, False) for name in negatives]
    listed = [f"case{number}" for number in range(len(BOX_CASES))]
    return {row.image_id: row for row in joined(boxes, verdicts, listed)}


@pytest.mark.parametrize("number", range(len(BOX_CASES)))
def test_label_by_box(labelled_by_box, number):
    *_, reason, label = BOX_CASES[number]
    row = labelled_by_box[f"case{number}"]
    assert (row.reason, row.label) == (reason, label)
    sourced = ("labelled", "two labels", "contradicted by a verified negative")
    assert (row.source_class is not None) == (reason in sourced)


def test_the_smallest_box_is_the_source():
    small = (0.39, 0.51, 0.09, 0.3)
    row = joined([box("a", "Human face", FACE), box("a", "Woman", PERSON), box("a", "Girl", small)])[0]
    assert (row.source_class, row.source_containment) == ("Girl", pytest.approx(1.0))


def test_a_neighbours_box_gives_no_label_and_boxes_of_other_images_do_not_count():
    other = (0.75, 0.85, 0.1, 0.2)
    boxes = [
        *(box("a", "Human face", FACE), box("a", "Human face", other), box("a", "Woman", PERSON)),
        *(box("a", "Man", ELSEWHERE), box("b", "Human face", FACE)),
    ]
    found = {(row.image_id, row.x_min): row.label for row in joined(boxes)}
    assert found == {("a", 0.4): "female", ("a", 0.75): "male", ("b", 0.4): None}


def test_a_repeated_face_is_used_once_and_an_unlisted_image_not_at_all():
    boxes = [box("a", "Human face", FACE)] * 2 + [box("a", "Man", PERSON), box("z", "Human face", FACE)]
    reasons = sorted(row.reason for row in joined(boxes))
    assert reasons == ["image not listed", "labelled", "repeated box"]


def test_label_by_image():
    cases = {
        "a": ([("Woman", True)], "labelled", "female"),
        "b": ([("Woman", True), ("Girl", True), ("Man", False)], "labelled", "female"),
        "c": ([("Woman", True), ("Man", True)], "two image-level labels", None),
        "d": ([("Human face", True), ("Man", False)], "no image-level label", None),
    }
    boxes = [part for image in cases for part in (box(image, "Human face", FACE), box(image, "Man", PERSON))]
    verdicts = [(image, *verdict) for image, (given, *_) in cases.items() for verdict in given]
    for row in joined(boxes, verdicts, label_strategy="image"):
        assert (row.reason, row.label) == cases[row.image_id][1:]


FEMININE, MASCULINE = "Predominantly Feminine", "Predominantly Masculine"
MIAP_CASES = [  # MIAP's person boxes; the reason, the label and the age presentation
    ([(FEMININE, "Young", PERSON)], "labelled", "female", "Young"),
    ([(MASCULINE, "Older", PERSON)], "labelled", "male", "Older"),
    ([(MASCULINE, "Older", PERSON, {"group": -1, "depiction": -1})], "labelled", "male", "Older"),
    ([], "no MIAP person box", None, None),
    ([(FEMININE, "Young", HALF)], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"group": 1})], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"depiction": 1})], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"valid": False})], "no MIAP person box", None, None),
    ([("Unknown", "Young", PERSON)], "MIAP presentation unknown", None, "Young"),
    ([(FEMININE, "Young", PERSON), (MASCULINE, "Older", WIDE)], "two labels", None, None),
    ([(FEMININE, "Young", PERSON), (FEMININE, "Older", WIDE)], "labelled", "female", "Young"),
    ([(FEMININE, "Young", WIDE), ("Unknown", "Middle", PERSON)], "MIAP presentation unknown", None, "Middle"),
    ([(FEMININE, "Young", PERSON), ("Unknown", "Middle", WIDE)], "labelled", "female", "Young"),
]


def miap_box(image, gender, age, edges, group=0, depiction=0, valid=True):
    row = dict(zip(EDGES, edges, strict=True), image_id=image, valid=valid, is_group_of=group, is_depiction=depiction)
    return {**row, "gender_presentation": gender, "age_presentation": age}


@pytest.fixture(scope="module")
def labelled_by_miap():
    boxes = [box(f"case{number}", "Human face", FACE) for number in range(len(MIAP_CASES))]
    people = [
        miap_box(f"case{number}", gender, age, edges, **(flags[0] if flags else {}))
        for number, (case, *_) in enumerate(MIAP_CASES)
        for gender, age, edges, *flags in case
    ]
    listed = [f"case{number}" for number in range(len(MIAP_CASES))]
    return {row.image_id: row for row in joined(boxes, (), listed, miap=people, label_strategy="miap")}


@pytest.mark.parametrize("number", range(len(MIAP_CASES)))
def test_label_by_miap(labelled_by_miap, number):
    _, *expected = MIAP_CASES[number]
    row = labelled_by_miap[f"case{number}"]
    assert [row.reason, row.label, row.age_presentation] == expected
    assert row.miap_label == row.label


def test_every_strategy_says_its_own_beside_the_chosen_one():
    boxes = [*(box("a", "Human face", FACE), box("a", "Man", PERSON)), box("b", "Human face", FACE)]
    people = [miap_box("a", FEMININE, "Older", PERSON)]
    for strategy, label in (("box", "male"), ("image", "female"), ("miap", "female")):
        first, second = joined(boxes, [("a", "Woman", True)], miap=people, label_strategy=strategy)
        assert (first.miap_label, first.age_presentation) == ("female", "Older")
        assert (first.label, second.label, second.miap_label, second.age_presentation) == (label, None, None, None)
    counts = label_faces(whole_images(boxes, [("a", "Woman", True)], miap=people), settings(miap=True)).counts
    assert [counts[f"train.box.{verdict}"] for verdict in ("agree", "disagree", "miap unknown")] == [0, 1, 0]
    assert [counts[f"train.image.{verdict}"] for verdict in ("agree", "disagree", "miap unknown")] == [1, 0, 0]
