"""Stage explore: its page, its sheets and what it records."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ml import storage
from ml.config.training import TrainingConfig
from ml.stages import analyses, samples
from ml.stages.explore import explore
from ml.stages.sheets import SIDE, Illustrator
from ml.vision import images
from support.explored import FACE, PERSON, HandMade, box, chip_of, duplicate, face, listed, person, verdict

AGREEMENT = {"train": {"box": {"agree": 8, "disagree": 2, "miap unknown": 1}}}


@pytest.fixture(autouse=True)
def quick_charts(request, monkeypatch):
    """Charts of one pixel, except for the test of the charts: drawing them takes longer than all the rest."""
    if "charts" not in request.node.name:
        pixel = images.encode_png(np.zeros((1, 1, 3), np.uint8))
        names = [f"balance_{column}" for column in ("subset", "split", *analyses.BALANCED)]
        monkeypatch.setattr("ml.stages.explore.draw_charts", lambda *_: dict.fromkeys(names, pixel))


@pytest.fixture
def hand_made(tmp_path):
    """A run with some photographs, whose tables the tests make."""
    made = HandMade(tmp_path, TrainingConfig())
    for image in "abcd":
        made.photograph(image)
    return made


def tables(*faces, chipped=(), **values):
    """The tables of a run with some faces, each on a listed photograph inside a box of a woman."""
    ids = sorted({row["image_id"] for row in faces})
    return {
        "boxes": [
            box(image, name, edges) for image in ids for name, edges in (("Human face", FACE), ("Woman", PERSON))
        ],
        "labels": [verdict(image, name) for image in ids for name in ("Human face", "Woman")],
        "images": [listed(image) for image in ids],
        "faces": list(faces),
        "chips": [chip_of(row) for row in chipped],
        **values,
    }


def page_of(context):
    """The page that the stage writes, and its record."""
    record = explore(context).record
    return storage.read_bytes(record.report).decode(), record


def sheets_of(context):
    found = storage.read_json(context.path("explore.json"))["sheets"]
    return {sheet["title"]: sheet for sheet in found}


def decoded(page, name):
    """The pictures on a sheet."""
    section = re.search(rf'<section class="samples" id="{name}">(.*?)</section>', page, re.DOTALL)[1]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", section)
    ]


def test_every_outcome_with_faces_has_a_sheet_that_says_what_it_means(hand_made):
    labelled, dropped = face("a"), face("b")
    faces = [labelled, dropped, face("c", "two labels"), face("d", "depiction")]
    made = tables(*faces, chipped=[labelled], chip_ledger={"too small": 1})
    made["faces"][1] = {**dropped, "x_max": 0.26}
    context = hand_made.done(**made)
    page, _ = page_of(context)
    found = sheets_of(context)
    assert {title: (sheet["count"], sheet["shown"]) for title, sheet in found.items()} == {
        "labelled": (2, [labelled["face_id"], dropped["face_id"]]),
        "two labels": (1, [faces[2]["face_id"]]),
        "depiction": (1, [faces[3]["face_id"]]),
        "chipped": (1, [labelled["face_id"]]),
        "too small": (1, [dropped["face_id"]]),
    }
    assert "Boxes of both labels contain the face" in page
    assert "The shorter side of the box has fewer pixels than min_face_size" in page
    assert "Not found: group." in page
    assert 'href="#join_labels-group"' not in page


def test_a_page_with_its_charts_is_whole_in_itself_and_names_whose_photographs_it_shows(hand_made):
    row = face("a")
    made = tables(row, chipped=[row])
    made["images"] = [listed("a", author="<Ada>")]
    page, record = page_of(hand_made.done(**made))
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("data:image/", "#", "https://example.org/")) for link in links)
    assert "prefers-color-scheme: dark" in page
    assert "photo a, by &lt;Ada&gt;, CC" in page
    assert "not a person&#39;s gender or identity" in page
    for uri in record.plots.values():
        content = storage.read_bytes(uri)
        assert content.startswith(b"\x89PNG") if uri.endswith(".png") else b"<svg" in content[:400]
    assert set(record.plots) >= {"contact_sheet", "top_classes", "balance_subset", "balance_split", "balance_face_px"}


def test_the_numbers_of_the_release_and_the_agreement_with_miap_are_on_the_page(hand_made):
    row = face("a", miap_label="male")
    context = hand_made.done(**tables(row, chipped=[row]), miap=[person("a")], agreement=AGREEMENT)
    page, _ = page_of(context)
    assert f"<code>{context.run.parameters['release']}</code>, Open Images V5, labels" in page.replace("\n", "")
    assert "Author&nbsp;3" in page
    assert "ImageID&nbsp;" not in page, "no value of it is missing"
    assert re.search(r"<td>train</td><td>box</td><td>\s*80.0%", page)
    assert "MIAP&#39;s box" in page
    assert sheets_of(context)["label differs from MIAP's"]["shown"] == [row["face_id"]]
    assert "female, MIAP male; present: Woman" in page


BROKEN = {
    "labels": {"rows": 0, "by rule": {}},
    "boxes": {"rows": 3, "by rule": {"not a number": 1, "<b>outside</b>": 2}},
    "images": {"rows": 1, "by rule": {"repeated key": 1}},
}


def section_of(page, name):
    """The rows of the tables of a section, and the section as text."""
    html = re.search(rf'<h2 id="{name}">(.*?)<h2', page, re.DOTALL)[1]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]
    return rows, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))


def test_broken_rows_are_counted_by_table_and_rule_with_the_place_that_lists_them(hand_made):
    row, broken = face("a"), [{"table": "boxes", "value": "x"}]
    rows = {"labels": 40_000, "boxes": 10_000, "images": 5}
    made = tables(row, chipped=[row], extracted={"rows": rows, "quarantined": BROKEN}, quarantine=broken)
    context = hand_made.done(**made)
    page, _ = page_of(context)
    found, text = section_of(page, "numbers")
    assert found[-5:] == [
        ["boxes", "any rule", "3", "&lt; 0.1%"],
        ["", "&lt;b&gt;outside&lt;/b&gt;", "2", "&lt; 0.1%"],
        ["", "not a number", "1", "&lt; 0.1%"],
        ["images", "any rule", "1", "20.0%"],
        ["", "repeated key", "1", "20.0%"],
    ]
    assert "No row breaks a rule in labels." in text
    assert f"of a file: {context.inputs['extract'].uri}/quarantine " in text
    assert "No row of the release" not in text


def test_a_release_without_a_broken_row_is_said_to_have_none(hand_made):
    row = face("a")
    counts = {table: {"rows": 0, "by rule": {}} for table in BROKEN}
    page, _ = page_of(hand_made.done(**tables(row, chipped=[row], extracted={"quarantined": counts})))
    _, text = section_of(page, "numbers")
    assert "No row of the release breaks the data contract." in text
    assert "any rule" not in text
    assert "unlike the published" not in text


def test_row_counts_unlike_the_published_ones_are_on_the_page(hand_made):
    row = face("a")
    unlike = [
        {"table": "boxes", "subset": "test", "rows": 937_000, "published": 937_327},
        {"table": "images", "subset": "train", "rows": 1_745_000, "published": 1_743_042},
    ]
    page, _ = page_of(hand_made.done(**tables(row, chipped=[row], extracted={"unlike published": unlike})))
    found, _ = section_of(page, "numbers")
    assert found[-2:] == [
        ["boxes", "test", "937,000", "937,327", "−327"],
        ["images", "train", "1,745,000", "1,743,042", "+1,958"],
    ]


def test_a_face_is_shown_upright_in_its_box(hand_made):
    hand_made.photograph("a", size=(128, 64), top=(200, 0, 0))
    row = face("a", edges=(0.25, 0.75, 0.1, 0.4), rotation=90)
    made = tables(row, chipped=[row])
    made["boxes"] = [box("a", "Human face", (0.25, 0.75, 0.1, 0.4))]
    page, _ = page_of(hand_made.done(**made))
    (picture,) = decoded(page, "join_labels-labelled")
    assert picture.shape == (SIDE // 2, SIDE, 3), "a photograph stored on its side"
    # Turned counterclockwise, the upper half comes to lie on the left, and the box with it.
    assert np.ptp(picture[10, 10].astype(int)[1:]) < 40
    assert picture[10, 10, 0] > 150
    assert picture[10, -10, 0] < 150
    green = (picture[..., 1].astype(int) - picture[..., 0]) > 60
    columns = np.flatnonzero(green.any(axis=0))
    assert abs(columns.min() - 0.1 * SIDE) < 6
    assert abs(columns.max() - 0.4 * SIDE) < 6
    (chip,) = decoded(page, "chip-chipped")
    assert chip[:, 2:-2, 0].mean() > 150, "it lies in the red half"


def test_photographs_that_cannot_be_read_are_named(hand_made):
    (hand_made.photographs / "b.jpg").write_bytes(b"no image")
    (hand_made.photographs / "c.jpg").unlink()
    rows = [face("a"), face("b"), face("c")]
    ledger = {"image absent": 1, "image unreadable": 1}
    context = hand_made.done(**tables(*rows, chipped=rows[:1], chip_ledger=ledger))
    page, _ = page_of(context)
    found = sheets_of(context)
    assert found["labelled"]["shown"] == [rows[0]["face_id"]]
    assert found["labelled"]["not shown"] == ["train/b.jpg", "train/c.jpg"]
    assert found["image absent"]["not shown"] == ["train/c.jpg"]
    assert found["image unreadable"]["not shown"] == ["train/b.jpg"]
    assert "Cannot be shown, because the photograph is absent or damaged: train/b.jpg, train/c.jpg." in page
    credits = storage.read_json(context.path("explore.json"))["photographs on the page"]
    assert {credit["image_id"] for credit in credits} >= {"a"}


def test_an_invalid_box_is_shown_as_far_as_it_can_be(hand_made):
    rows = [
        face("a", "invalid box", edges=(None, 0.5, 0.25, 0.5)),
        face("b", "invalid box", edges=(0.5, 0.25, 0.25, 1.5)),
        face("c"),
    ]
    context = hand_made.done(**tables(*rows, chipped=rows[2:]))
    page_of(context)
    assert sheets_of(context)["invalid box"]["shown"] == [row["face_id"] for row in rows[:2]]


def test_near_duplicates_are_shown_side_by_side_with_pairs_across_splits_first(hand_made):
    rows = [face(image) for image in "abcd"]
    pairs = [duplicate("a", "b", distance=0), duplicate("c", "d", other_split="test", distance=4)]
    context = hand_made.done(**tables(*rows, chipped=rows), duplicates=pairs)
    page, _ = page_of(context)
    found = sheets_of(context)["near-duplicates"]
    assert (found["count"], found["shown"]) == (2, ["c d", "a b"])
    assert "train and test; distance 4" in page
    wide, _ = decoded(page, "near-duplicates")
    assert wide.shape[1] > 2 * SIDE


def test_the_same_faces_are_shown_whatever_the_order_of_the_rows(tmp_path):
    shown = []
    for number, order in enumerate((1, -1)):
        made = HandMade(tmp_path / str(number), TrainingConfig())
        made.photograph("a")
        rows = [face("a" * (place + 1), digest=f"{97 * place % 41:x}") for place in range(20)]
        context = made.done(**tables(*rows[::order], chipped=rows[::order]))
        page_of(context)
        found = sheets_of(context)["labelled"]
        shown.append((found["shown"], found["not shown"]))
        assert len(found["shown"]) + len(found["not shown"]) == samples.SHOWN
    assert shown[0] == shown[1]
    assert [int(name[:1], 16) for name in shown[0][0]] == [10]


def test_one_photograph_is_on_a_sheet_once(hand_made):
    rows = [face("a", digest=digest, edges=FACE) for digest in "12345"]
    context = hand_made.done(**tables(*rows, chipped=rows))
    page_of(context)
    assert sheets_of(context)["labelled"]["shown"] == [rows[0]["face_id"]], "the lowest digest"


def test_two_boxes_with_the_same_edges_are_both_visible(hand_made):
    labels = TrainingConfig().label_order
    boxes = {"a": [samples.Drawn(label, PERSON, "person", label) for label in labels]}
    illustrator = Illustrator(hand_made.run.view, hand_made.run.config, boxes)
    row = samples.Face("a-1", "a", "train", 0, FACE)
    picture = images.decode(illustrator.show_faces([row]).tiles[0].picture).astype(int)
    orange = (picture[..., 0] - picture[..., 2] > 120) & (picture[..., 1] > 100)
    blue = (picture[..., 2] - picture[..., 0] > 100) & (picture[..., 2] > 120)
    assert orange.sum() > 500
    assert blue.sum() > 500


def test_other_subjects_are_named_by_their_class(tmp_path):
    config = TrainingConfig(chip_class="Cat", labels={"wild": ["Tiger"], "tame": ["Dog"]})
    made = HandMade(tmp_path, config)
    made.photograph("a")
    row = face("a", label="tame")
    values = tables(row, chipped=[row])
    values["boxes"] = [box("a", "Cat")]
    values["boxes"][0] |= {"chipped": True}
    values["miap"] = [person("a")]
    context = made.done(**values)
    page, _ = page_of(context)
    assert "gender" not in page.lower()
    assert "MIAP" not in page.replace("MIAP presentation unknown", "").replace("no MIAP person box", "")
    assert "The cat has a label" in page
