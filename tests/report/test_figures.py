"""Plots and drawings: what can be seen in them."""

import base64
import functools
import io
import re
from xml.etree import ElementTree

import matplotlib.pyplot
import numpy as np
import pytest
from PIL import Image

from ml.config.training import TrainingConfig
from ml.flow.exploration import Balance, BalanceRow
from ml.metrics.abstention import abstention_metrics
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import calibration_metrics
from ml.metrics.estimate import Estimate
from ml.report.figures import evaluation as evaluation_figures
from ml.report.figures import exploration as exploration_figures
from ml.report.figures import training as training_figures
from ml.report.figures.base import BLUE, ON_DARK
from ml.report.subject import subject
from ml.vision.drawing import PALETTE, Mark, contact_sheet, draw_marks, heat_overlay, rectangle
from support.training import make_epoch

TRUTH = np.array([0, 0, 1, 1, 1])
SECOND = np.array([0.1, 0.6, 0.4, 0.8, 0.9])
PROBABILITIES = np.stack([1 - SECOND, SECOND], axis=1)
HISTORY = [make_epoch(n, loss=0.7, accuracy=0.5, val_loss=0.7, val_accuracy=0.5) for n in (1, 2, 3)]
FLAGS = [("xclick", "IsOccluded", 5, 90, 1), ("xclick", "IsTruncated", 1, 95, 0), ("activemil", "IsOccluded", 0, 0, 40)]

BOOTSTRAP = ImageBootstrap(np.arange(5), resamples=50)
PREDICTED = np.array([0, 1, 0, 1, 1])
ABOUT = subject(TrainingConfig())
SHARE = Estimate(value=0.8, low=0.7, high=0.9, count=40, images=20)
WITHOUT_INTERVAL = SHARE.model_copy(update={"low": None, "high": None})
ROWS = [("48 to 64 px", SHARE), ("64 to 96 px", WITHOUT_INTERVAL), ("90°", Estimate.undefined(0, 0))]


def calibration(rows=slice(None), images=BOOTSTRAP):
    return calibration_metrics(TRUTH[rows], PROBABILITIES[rows], 1.3, images)


def abstention(limit):
    return abstention_metrics(TRUTH, PROBABILITIES, PREDICTED, limit, BOOTSTRAP)


BALANCE = Balance(
    column="is_occluded",
    title="Occlusion",
    rows=(BalanceRow(name="occluded", faces={"female": 3, "male": 0}),),
)
CHARTS = {
    "top classes": lambda: exploration_figures.top_classes([(f"class {n}", 1000 * n, n) for n in range(14)]),
    "one class": lambda: exploration_figures.top_classes([("Person", 3, 0)]),
    "no class": lambda: exploration_figures.top_classes([]),
    "verified images": lambda: exploration_figures.verified_images(
        [("female", 17889, 16545), ("male", 60088, 10996)], ABOUT
    ),
    "faces per image": lambda: exploration_figures.faces_per_image({1: 10, 2: 5, 40: 1}),
    "no image": lambda: exploration_figures.faces_per_image({}),
    "face sizes": lambda: exploration_figures.face_sizes(range(31), range(30)),
    "no face": lambda: exploration_figures.face_sizes([0, 50, 100], [0, 0]),
    "boxes by source": lambda: exploration_figures.boxes_by_source(FLAGS),
    "no box": lambda: exploration_figures.boxes_by_source([]),
    "balance": lambda: exploration_figures.balance(BALANCE, ("female", "male"), "faces"),
    "curves": lambda: training_figures.training_curves(HISTORY, 2),
    "curves of one epoch": lambda: training_figures.training_curves(HISTORY[:1], 1),
    "confusion": lambda: evaluation_figures.confusion_matrix(["female", "male"], [[5, 1], [2, 12]], ABOUT),
    "confusion of one label": lambda: evaluation_figures.confusion_matrix(["female", "male"], [[0, 0], [2, 12]], ABOUT),
    "roc": lambda: evaluation_figures.roc_curve(["female", "male"], TRUTH, PROBABILITIES, 0.5, 0.8, ABOUT),
    "precision": lambda: evaluation_figures.precision_recall(
        ["female", "male"], TRUTH, PROBABILITIES, PREDICTED, [0.5, 0.9], ABOUT
    ),
    "precision of one label": lambda: evaluation_figures.precision_recall(
        ["female", "male"], TRUTH[2:], PROBABILITIES[2:], PREDICTED[2:], [None, None], ABOUT
    ),
    "precision of one answer": lambda: evaluation_figures.precision_recall(
        ["female", "male"], TRUTH, PROBABILITIES, np.ones(5, int), [0.5, 0.9], ABOUT
    ),
    "reliability": lambda: evaluation_figures.reliability(calibration(), 5),
    "reliability of one face": lambda: evaluation_figures.reliability(calibration(slice(1), ImageBootstrap([0])), 1),
    "risk and coverage": lambda: evaluation_figures.risk_coverage(abstention(0.7), 5),
    "risk where all are unknown": lambda: evaluation_figures.risk_coverage(abstention(0.99), 5),
    "slices": lambda: evaluation_figures.intervals([("Size", ROWS)], "Accuracy", "accuracy", 0.7, "all faces", 50),
    "one slice": lambda: evaluation_figures.intervals(
        [("Size", ROWS[2:])], "Accuracy", "accuracy", 0.0, "no difference"
    ),
    "roc of one label": lambda: evaluation_figures.roc_curve(
        ["female", "male"], TRUTH[2:], PROBABILITIES[2:], 0.5, None, ABOUT
    ),
}


SVG = "{http://www.w3.org/2000/svg}"


@functools.cache
def drawn(chart):
    return CHARTS[chart]()


def shapes(svg):
    """Parse a chart; return the styles of what it draws, without those of the text."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return [path.get("style") or "" for path in root.iter(f"{SVG}path") if path.get("style")]


def words(svg):
    """Return the texts of a chart, which Matplotlib writes as comments beside their paths."""
    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_a_picture_with_something_on_it(chart):
    svg = drawn(chart)
    assert len(shapes(svg)) > 2
    assert words(svg)
    assert len(svg) < 200_000, "a report of a dozen stays a file that one can send"


@pytest.mark.parametrize("chart", [chart for chart in CHARTS if chart != "no class"])  # whose legend is of no bars
def test_a_chart_has_no_white_ground_and_its_colors_turn_with_the_page(chart):
    svg = drawn(chart).decode()
    assert "prefers-color-scheme:dark" in svg
    assert not re.search(r'style="[^"]*fill: #ffffff', re.sub(r'<g id="text_.*?</g>\s*</g>', "", svg, flags=re.DOTALL))
    found = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg.partition("</style>")[2]))
    constant = {evaluation_figures.ON_CELL, "#ffffff"}  # text in the cells of the confusion matrix
    assert found <= set(ON_DARK) | constant


def test_no_bin_of_a_few_faces_spans_the_whole_reliability_diagram():
    random = np.random.default_rng(0)
    second = random.uniform(0, 1, 61)
    truth = (random.random(61) < second).astype(int)
    measured = calibration_metrics(truth, np.stack([1 - second, second], axis=1), 1.0, ImageBootstrap(np.arange(61)))
    assert all(row.accuracy.count >= 20 for row in measured.after.reliability)
    assert all(row.confidence >= 0.5 for row in measured.after.reliability)
    svg = evaluation_figures.reliability(measured, 61)
    assert "Reliability, 61 test chips, 3 bins of about 20 chips" in words(svg)
    assert "Temperature 1: nothing is scaled" in words(svg), "and there is no second, equal diagram"
    assert not [text for text in words(svg) if text.startswith("Before")]


def test_a_bin_is_as_wide_as_what_it_spans():
    svg = exploration_figures.face_sizes([0, 1, 2, 8], [10, 10, 20])
    (outline,) = [
        path.get("d") for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if BLUE in (path.get("style") or "")
    ]
    points = np.array([[float(number) for number in pair] for pair in re.findall(r"[ML] (\S+) (\S+)", outline)])
    places, heights = np.unique(points[:, 0].round(1)), points[:, 1].max() - np.unique(points[:, 1])
    first, second, third = np.diff(places)
    assert first == pytest.approx(second, rel=0.01)
    assert third == pytest.approx(2 * first, rel=0.01), "two doublings"
    assert heights.max() > 0
    assert len(np.unique(heights.round(1))) == 2, "all bins are equally high: twice the boxes on twice the width"


def test_charts_leave_nothing_behind_and_are_the_same_each_time():
    assert CHARTS["confusion"]() == CHARTS["confusion"]()
    assert not matplotlib.pyplot.get_fignums()


def test_the_confusion_matrix_is_darkest_where_the_rows_share_is_largest():
    # Annotated female is the upper row, predicted female the left column.
    svg = evaluation_figures.confusion_matrix(["female", "male"], [[90, 10], [80, 20]], ABOUT).decode()
    picture = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", svg)[1])
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))[::-1].mean(axis=2)
    height, width = pixels.shape
    upper, lower, left, right = int(height * 0.25), int(height * 0.75), int(width * 0.25), int(width * 0.75)
    assert pixels[upper, left] < pixels[upper, right]
    assert pixels[upper, left] < pixels[lower, left] < pixels[lower, right]


def test_bins_and_counts_must_fit():
    with pytest.raises(ValueError, match="3 edges"):
        exploration_figures.face_sizes([0, 1], [3, 4])


def test_boxes_are_drawn_in_their_own_colour_and_the_photo_is_kept():
    photo = np.full((300, 400, 3), (10, 20, 200), np.uint8)
    drawn = draw_marks(photo, [Mark((100, 100, 200, 220), "", (250, 100, 0))])
    assert drawn[100, 150].tolist() == [250, 100, 0]
    assert drawn[219, 150].tolist() == [250, 100, 0]
    assert drawn[221, 150].tolist() == [10, 20, 200]
    assert drawn[160, 150].tolist() == [10, 20, 200]
    assert (photo == (10, 20, 200)).all(), "the photograph itself is not drawn on"


@pytest.mark.parametrize("shape", [(60, 40), (300, 400), (2000, 1000)])
@pytest.mark.parametrize("place", [(0, 0, 1, 1), (0, 0, 0.3, 0.2), (0.8, 0.9, 1, 1), (0.9, 0, 1, 0.1)])
def test_the_text_lies_inside_photographs_of_all_sizes(shape, place):
    height, width = shape
    box = tuple(round(share * side) for share, side in zip(place, (width, height, width, height), strict=True))
    without = draw_marks(np.zeros((*shape, 3), np.uint8), [Mark(box, "")])
    drawn = draw_marks(np.zeros((*shape, 3), np.uint8), [Mark(box, "female 87%")])
    assert drawn.shape == (*shape, 3)
    added = (drawn == PALETTE[0]).all(axis=2) & (without != PALETTE[0]).any(axis=2)
    rows, columns = np.flatnonzero(added.any(axis=1)), np.flatnonzero(added.any(axis=0))
    assert len(rows) > 8, "a background of the text's height"
    assert len(columns) > 30, "and width"


def test_texts_of_overlapping_faces_do_not_cover_one_another():
    colours = (PALETTE[0], PALETTE[1], PALETTE[2])
    boxes = [(100, 200, 220, 320), (110, 205, 230, 325), (105, 210, 225, 330)]
    photo = np.zeros((600, 600, 3), np.uint8)
    together = draw_marks(photo, [Mark(b, "male 87%", c) for b, c in zip(boxes, colours, strict=True)])
    for box, colour in zip(boxes, colours, strict=True):
        alone = (draw_marks(photo, [Mark(box, "male 87%", colour)]) == colour).all(axis=2).sum()
        # Lines may cross, texts may not: a covered text would lose thousands of pixels.
        assert (together == colour).all(axis=2).sum() > 0.75 * alone


def test_open_images_boxes_become_pixels_in_the_order_left_top_right_bottom():
    assert rectangle((0.1, 0.5, 0.2, 0.9), width=1000, height=500) == (100, 100, 500, 450)


def test_a_contact_sheet_keeps_colours_and_shapes():
    red, wide = np.full((10, 10, 3), (200, 30, 40), np.uint8), np.full((20, 80, 3), (20, 90, 220), np.uint8)
    sheet = contact_sheet(
        [(red, "one"), (wide, "two\nlines"), (red, "a caption far too long for one tile " * 3)], 2, 100
    )
    assert sheet.shape[1] == 10 + 2 * 110
    assert sheet[60, 60].tolist() == [200, 30, 40]
    assert (sheet == (20, 90, 220)).all(axis=2).sum() == 100 * 25
    assert (sheet[-40:, 125:] == 255).all(), "the place of a fourth picture is empty, and no caption reaches into it"


def test_a_heat_map_lights_up_its_own_corner_and_keeps_the_shape():
    photo = np.full((60, 80, 3), (90, 60, 40), np.uint8)
    heat = np.zeros((3, 4))
    heat[0, 3] = 1
    drawn = heat_overlay(photo, heat)
    assert drawn.shape == photo.shape
    assert drawn[5, 75].mean() > 2 * drawn[50, 10].mean()
    assert (heat_overlay(photo, np.zeros((3, 4))) == drawn[50, 10]).all(), "without heat there is only grey"


def test_a_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 4)
