"""The faces of whole images: against a plain oracle on drawn boxes, over deliveries, and in any order of the rows."""

import pyarrow as pa
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from ml.features.columns import EDGES
from spark_jobs.deliveries import current, locate
from spark_jobs.face_counts import add_up, count_faces
from spark_jobs.faces import FACES, TABLES, label_faces, resolve
from support.spark_stages import ELSEWHERE, FACE, LABELS, MIDS, PERSON, box, settings, whole_images

IMAGES, CLASSES = "abc", tuple(MIDS)
# Few edges, so that boxes repeat, contain each other and have equal areas.
SPANS = [(low / 8, high / 8) for low in range(8) for high in range(low + 1, 9)]
BOXES = st.lists(
    st.builds(
        lambda image, name, x, y, group, depiction, occluded, valid, source: box(
            image, name, (*x, *y), group, depiction, valid, source, is_occluded=occluded
        ),
        *(st.sampled_from(IMAGES), st.sampled_from(CLASSES), st.sampled_from(SPANS), st.sampled_from(SPANS)),
        *(st.sampled_from((-1, 0, 0, 0, 1)), st.sampled_from((-1, 0, 0, 0, 1)), st.sampled_from((-1, 0, 1))),
        *(st.sampled_from((True, True, True, False)), st.sampled_from(("xclick", "activemil"))),
    ),
    max_size=30,
)
VERDICTS = st.lists(st.tuples(st.sampled_from(IMAGES), st.sampled_from(CLASSES), st.booleans()), max_size=15)


def expected_face(face, boxes, verdicts, listed, seen, containment):
    """Label one face by box, said plainly: the reason, the label, the source's class and the share that it contains."""
    place = (face["image_id"], *(face[edge] for edge in EDGES))
    seen.append(place)
    for reason, applies in (
        ("invalid box", not face["valid"]),
        ("repeated box", seen.count(place) > 1),
        ("group", face["is_group_of"] == 1),
        ("depiction", face["is_depiction"] == 1),
        ("image not listed", face["image_id"] not in listed),
    ):
        if applies:
            return reason, None, None, None
    holding = []
    for person in boxes:
        usable = person["valid"] and person["is_group_of"] != 1 and person["is_depiction"] != 1
        if person["image_id"] == face["image_id"] and person["label"] and usable:
            share = area(overlap(face, person)) / area(face)
            if share >= containment:
                edges = tuple(person[edge] for edge in EDGES)
                holding.append((area(person), person["name"], person["mid"], edges, share))
    if not holding:
        return "no person box", None, None, None
    _, name, _, _, share = min(holding)
    if len({LABELS[other] for _, other, *_ in holding}) > 1:
        return "two labels", None, name, share
    if (face["image_id"], name, False) in verdicts:
        return "contradicted by a verified negative", None, name, share
    return "labelled", LABELS[name], name, share


def overlap(one, other):
    low = {edge: max(one[edge], other[edge]) for edge in ("x_min", "y_min")}
    high = {edge: min(one[edge], other[edge]) for edge in ("x_max", "y_max")}
    return {**low, **high}


def area(rectangle):
    x_min, x_max, y_min, y_max = (rectangle[edge] for edge in EDGES)
    return max(0.0, x_max - x_min) * max(0.0, y_max - y_min)


@profile(max_examples=100)
@given(BOXES, VERDICTS, st.sampled_from((0.5, 0.9, 1.0)))
def test_faces_by_box_are_those_of_a_plain_oracle(boxes, verdicts, containment):
    found = label_faces(whole_images(boxes, verdicts, "ab"), settings(containment=containment)).faces.to_pylist()
    # Of equal boxes, the first by source and flags is the face.
    flags = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "valid")
    ordered = sorted(
        (row for row in boxes if row["chipped"]), key=lambda row: (row["source"], *(row[flag] for flag in flags))
    )
    seen = []
    expected = [(row, expected_face(row, boxes, verdicts, "ab", seen, containment)) for row in ordered]
    same = ("image_id", *EDGES, "source", "is_occluded", "is_group_of", "is_depiction")
    told = ("reason", "label", "source_class", "source_containment")
    assert sorted(map(repr, ([row[name] for name in (*same, *told)] for row in found))) == sorted(
        map(repr, ([*(row[name] for name in same), *told] for row, told in expected))
    )
    assert len({row["face_id"] for row in found}) == len(set(seen))


@given(BOXES, VERDICTS, st.randoms(use_true_random=False), st.sampled_from(("box", "image")))
def test_the_table_is_the_same_in_whatever_order_the_rows_come(boxes, verdicts, chance, strategy):
    tables, asked = whole_images(boxes, verdicts, "ab"), settings(label_strategy=strategy)
    once = label_faces(tables, asked)
    orders = {name: chance.sample(range(len(rows)), len(rows)) for name, rows in tables.items()}
    shuffled = {name: rows.take(pa.array(orders[name], pa.int64())) for name, rows in tables.items()}
    again = label_faces(shuffled, asked)
    assert again.faces.equals(once.faces)
    assert again.counts == once.counts
    assert once.faces.schema.equals(FACES)


@given(BOXES, VERDICTS)
def test_counts_do_not_depend_on_how_images_are_divided(boxes, verdicts):
    def counted(rows):
        found = label_faces(whole_images(rows, verdicts, "ab"), settings())
        return {**found.counts, **count_faces(found.faces, settings())}

    def none_of_the_labels(counts):  # the verdicts are given to each part
        return {name: count for name, count in counts.items() if not name.startswith("labels ")}

    parts = [[row for row in boxes if row["image_id"] == image] for image in IMAGES]
    together, apart = counted(boxes), add_up(map(counted, parts))
    assert none_of_the_labels(together) == none_of_the_labels(apart)


def test_the_digest_of_the_faces_asked_for_changes_with_each_column():
    tables = whole_images([box("a", "Human face", FACE), box("a", "Man", PERSON)])
    faces = label_faces(tables, settings()).faces

    def digest(table):
        return tuple(count_faces(table, settings())[f"digest.release.{seed}"] for seed in (0, 1))

    found = {digest(faces)}
    changes = {"rotation": 180, "x_min": 0.40000000000000008, "source": "activemil", "miap_label": "male"}
    changes |= {
        "is_occluded": 1,
        "age_presentation": "Older",
        "subset": "test",
        "face_id": "a-0",
        "source_class": "Boy",
    }
    for name, value in changes.items():
        changed = pa.Table.from_pylist([{**row, name: value} for row in faces.to_pylist()], FACES)
        found.add(digest(changed))
    assert len(found) == 1 + len(changes)
    unasked = pa.Table.from_pylist([{**row, "source_containment": 0.95} for row in faces.to_pylist()], FACES)
    assert digest(unasked) in found


def test_labels_that_are_repeated_or_contradict_each_other_are_counted_and_absent_wins():
    verdicts = [("a", "Man", True), ("a", "Man", True), ("a", "Boy", True), ("a", "Boy", False), ("b", "Man", True)]
    labels, counts = resolve(whole_images([], verdicts)["labels"])
    assert counts == {"labels repeated": 2, "labels contradicted": 1}
    found = {(row["image_id"], row["mid"]): row["positive"] for row in labels.to_pylist()}
    assert found == {("a", MIDS["Man"]): True, ("a", MIDS["Boy"]): False, ("b", MIDS["Man"]): True}


# --- several deliveries

FIRST, SECOND, THIRD = MONTHS = ("2020-01-15", "2020-02-15", "2020-03-15")


def held(*pairs, table="boxes"):
    return pa.Table.from_pylist(
        [{"table": table, "image_id": image, "delivery": month} for image, month in pairs], TABLES["held"]
    )


def test_a_later_delivery_replaces_the_rows_of_an_image_even_if_it_has_none_that_are_kept():
    rows = pa.table({"image_id": ["a", "a", "b", "c", None], "delivery": [FIRST, SECOND, FIRST, SECOND, FIRST]})
    # `a` is in two deliveries, `b` too but its later rows are of other classes; repeated rows change nothing.
    there = held(("a", FIRST), ("a", SECOND), ("b", FIRST), ("b", THIRD), ("c", SECOND), ("c", SECOND), (None, FIRST))
    kept = current(rows, there, "boxes").to_pylist()
    assert [(row["image_id"], row["delivery"]) for row in kept] == [("a", SECOND), ("c", SECOND), (None, FIRST)]
    assert current(rows, there, "labels") == rows


def test_replaced_faces_are_counted_and_the_other_tables_hold():
    old = [box("a", "Human face", FACE, delivery=FIRST), box("a", "Man", PERSON, delivery=FIRST)]
    new = [box("a", "Human face", ELSEWHERE, delivery=SECOND), box("a", "Woman", ELSEWHERE, delivery=SECOND)]
    tables = whole_images([*old, *new], held=held(("a", FIRST), ("a", SECOND)).to_pylist())
    found = label_faces(tables, settings(deliveries=MONTHS[:2]))
    assert found.counts["replaced"] == 1
    assert found.faces.column("label").to_pylist() == ["female"]


def test_a_photograph_is_that_of_the_newest_delivery_that_holds_it_or_else_lists_it():
    faces = pa.table({"image_id": ["a", "b", "c", None], "subset": ["train"] * 4})
    listed = pa.table({"image_id": ["a", "b"], "subset": ["train"] * 2, "delivery": [FIRST] * 2})
    photographs = [("a", "train", FIRST), ("a", "train", THIRD), ("b", "test", SECOND)]
    holding = pa.Table.from_pylist(
        [dict(zip(("image_id", "subset", "delivery"), row, strict=True)) for row in photographs], TABLES["photographs"]
    )
    assert locate(faces, listed, holding, MONTHS).to_pylist() == [THIRD, FIRST, None, None]
    assert locate(faces, listed, holding, (FIRST,)).to_pylist() == [FIRST] * 4
