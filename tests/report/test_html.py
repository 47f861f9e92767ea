"""The report: whole in itself, true to the numbers, and plain about what it must not be used for."""

import dataclasses
import html
import io
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.config.training import TrainingConfig
from ml.flow.exploration import Credit
from ml.flow.records import Agreement
from ml.metrics.drift import measure_drift
from ml.release.delivery import Delivery
from ml.report.credits import are_drawn
from ml.report.html import render_report
from ml.sample.scenes import add_scene
from ml.sample.tables import IMAGE_COLUMNS, Tables
from ml.stages.report_data import report_data
from support.models import png_of
from support.profiles import make_profile, together
from support.reports import measured, pin

FIGURES = {
    name: png_of((200, 10, 10))
    for name in (
        *("confusion_matrix", "roc", "precision_recall", "reliability", "risk_coverage", "slices", "curves"),
        *("correct", "wrong", "grad_cam_correct", "grad_cam_wrong"),
    )
}
DRAWN_PAGE = "https://drawn.invalid/photos/a"
JOINED = {"labelled": 48, "no person box": 30, "two labels": 2}
CHIPPED = {"chipped": 40, "too small": 7, "image absent": 1}


def render(context, metrics, shown=(), drift=None, figures=FIGURES):
    """Write the report of a context of stage evaluate."""
    return render_report(report_data(context, metrics, figures, shown, drift))


def text_of(page):
    """What a reader sees, without tags and with plain spaces."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


class Tags(HTMLParser):
    """Collects tags and what they point at, and checks that they are closed in order."""

    VOID = frozenset(("meta", "img", "line", "circle", "br"))

    def __init__(self, page):
        super().__init__()
        self.open, self.links, self.seen = [], [], set()
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_in_itself(context):
    pin(context, "explore", **{"top_classes.png": png_of((0, 0, 200))})
    page = render(context, measured())
    tags = Tags(page)
    assert tags.links
    pictures = [link for link in tags.links if link.startswith("data:image/png;base64,")]
    assert len(pictures) == len(FIGURES) + 1
    inside = {link[1:] for link in tags.links if link not in pictures}
    assert inside <= set(re.findall(r'id="([^"]+)"', page)), "every other link leads to a place in the page"
    assert not {"script", "link", "iframe"} & tags.seen
    assert not re.search(r"@import|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'name="viewport"' in page


def test_a_result_above_the_baseline_is_said_to_be_distinguishable(context):
    page = text_of(render(context, measured(60, 20)))
    assert "75.0% accuracy on 80 test faces of 80 images, 95% interval" in page
    assert "majority baseline 50.0%" in page
    assert "is distinguishable from guessing" in page


def test_a_result_within_reach_of_the_baseline_is_said_not_to_be(context):
    page = text_of(render(context, measured(42, 38)))
    assert "is not distinguishable from guessing" in page


def test_the_numbers_stand_beside_their_intervals_faces_and_images(context):
    metrics = measured(60, 20)
    page = text_of(render(context, metrics))
    recall = metrics.by_label["female"].recall
    assert f"recall (among those annotated with it) 75.0% {recall.low:.1%} to {recall.high:.1%} 40 40" in page
    worst = metrics.slices.worst
    assert f"The worst slice of at least 50 faces is {worst.title}: {worst.name}" in page
    assert "xclick 53 53" in page
    assert "Left out because these features do not record them: Age presentation (MIAP)" in page


def test_the_validation_accuracy_has_its_faces_and_an_interval_named_as_what_it_is(context):
    page = text_of(render(context, measured()))
    assert "Validation accuracy 75.0% 55.1% to 88.0% on 24 faces" in page
    assert "interval is Wilson's and treats the faces as independent" in page
    del context.inputs["train"].metrics["validation"]["accuracy"]
    assert "Validation accuracy" not in text_of(render(context, measured()))


def test_the_agreement_of_the_ways_to_label_is_a_table_by_split(context):
    counted = {"test": {"box": Agreement(agree=90, disagree=10, miap_unknown=7)}}
    page = text_of(render(context, measured(miap_counts=counted)))
    assert "test box 90.0% 82.6% to 94.5% 90 10 7" in page


def test_the_page_says_what_the_model_must_not_be_used_for(context):
    page = text_of(render(context, measured()))
    for words in (
        "What this is and is not",
        "as annotators perceived it",
        "must not be used",
        "surveillance",
        "decisions about people",
        "targeting",
        "CC BY 4.0",
        "CC BY 2.0",
    ):
        assert words in page


def test_every_parameter_of_the_run_is_told(context):
    page = text_of(render(context, measured()))
    for name, field in TrainingConfig.model_fields.items():
        assert name in page
        assert field.title in page
    assert "female: Woman, Girl; male: Man, Boy" in page
    assert "keras 3.15" in page


def test_the_ledgers_lead_from_all_faces_to_those_in_the_splits(context):
    pin(context, "join_labels", JOINED)
    pin(context, "chip", CHIPPED)
    page = text_of(render(context, measured()))
    assert "Human face boxes of the release" in page
    assert "labelled 48 60.0% no person box 30 37.5% two labels 2 2.5% total 80" in page
    assert "chipped 40 83.3% too small 7 14.6% image absent 1 2.1% total 48" in page
    assert "train 9 9 18 validation 5 5 10 test 6 6 12 total 20 20 40" in page
    assert "do not add up" not in page


def test_chips_left_out_of_the_splits_are_counted(context):
    pin(context, "join_labels", {**JOINED, "labelled": 49, "no person box": 29})
    pin(context, "chip", {**CHIPPED, "chipped": 41})
    splits = {"train": 18, "validation": 10, "test": 12}
    ledger = {**splits, "near-duplicate of a photograph in another split": 1}
    context.inputs["featurize"] = context.inputs["featurize"].model_copy(update={"ledger": ledger})
    page = text_of(render(context, measured()))
    assert "left out: near-duplicate of a photograph in another split 1 total 20 20 41" in page
    assert "do not add up" not in page


def test_excluded_training_faces_are_counted_after_the_splits(context):
    counts = {"trained on": 16, "excluded by exclude_faces": 2}
    context.inputs["train"] = context.inputs["train"].model_copy(update={"ledger": counts})
    page = text_of(render(context, measured()))
    assert "trained on 16 88.9% excluded by exclude_faces 2 11.1% total 18" in page
    assert "Validation and test keep the faces that the list excludes" in page
    assert "do not add up" not in page
    context.inputs["train"] = context.inputs["train"].model_copy(update={"ledger": {}})
    assert "Training faces by use" not in text_of(render(context, measured()))


def test_counts_that_do_not_add_up_are_pointed_at(context):
    pin(context, "join_labels", {**JOINED, "labelled": 50})
    pin(context, "chip", CHIPPED)
    page = text_of(render(context, measured()))
    assert "do not add up: join_labels passed on 50, but the next count is 48" in page


def test_stages_that_were_not_pinned_are_left_out(context):
    page = text_of(render(context, measured()))
    assert "The release explored" not in page
    assert "boxes of the release" not in page
    assert "this report" in page


def test_the_photographs_shown_are_credited_and_nothing_from_the_release_is_markup(context):
    images = pa.table(
        {
            "image_id": ["shown", "other"],
            "author": ["<b>A & B</b>", "nobody"],
            "title": ["<script>alert(1)</script>", "x"],
            "landing_url": ["javascript:alert(1)", "https://example.org"],
            "license": ["https://creativecommons.org/licenses/by/2.0/"] * 2,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(images, buffer)
    pin(context, "extract", **{"images__part-0.parquet": buffer.getvalue()})
    page = render(context, measured(), ["shown"])
    tags = Tags(page)
    assert "script" not in tags.seen
    assert all(link.startswith(("data:", "#")) for link in tags.links), "what is no page is not linked"
    assert "<script>alert(1)</script>, by <b>A & B</b>" in text_of(page)
    assert "nobody" not in page


def test_a_run_about_other_classes_speaks_of_those(context):
    pets = TrainingConfig(chip_class="Animal", labels={"female": ["Cat"], "male": ["Dog"]})
    run = dataclasses.replace(context.run, parameters=pets.model_dump(mode="json"))
    page = text_of(render(dataclasses.replace(context, run=run), measured()))
    assert "gender" not in page
    assert "female for the classes Cat; male for the classes Dog" in page


def test_the_deliveries_that_the_run_saw_are_told_with_their_versions(context):
    seen = tuple(
        Delivery(name=name, uri="file:///landing", tables="t", photographs="p", version=version)
        for name, version in (("2020-01-15", "V5"), ("2020-02-15", "V7"), ("2020-03-15", "V5"))
    )
    run = dataclasses.replace(context.run, deliveries=seen)
    page = text_of(render(dataclasses.replace(context, run=run), measured()))
    assert ", Open Images V5, V7 (deliveries up to 2020-03-15: 3), labels" in page
    plain = text_of(render(context, measured()))
    assert "deliveries up to" not in plain
    assert "Open Images V" not in plain


def test_without_an_earlier_run_the_page_says_that_nothing_was_compared(context):
    text = text_of(render(context, measured()))
    assert "Drift of the data There is no earlier run to compare with" in text
    assert "Data drift" not in text


def test_drift_is_a_warning_on_top_and_a_table_with_its_figures(context):
    old = make_profile()
    new = together(old, make_profile(faces=1000, seed=2, size=300.0, deliveries=("2024-02-01",)))
    drift = measure_drift(old, new, champion=3)
    page = render(context, measured(), drift=drift, figures={**FIGURES, "drift_shares": png_of((1, 2, 3))})
    assert '<a href="#drift">Details</a>' in page
    Tags(page)
    text = text_of(page)
    line = "Data drift (large) against run earlier (champion, version 3). Added data: face size in pixels (PSI "
    assert text.count(line) == 2
    assert text.index(line) < text.index("What this is and is not")
    assert "New since then: 2024-02-01." in text
    assert "Shares of labels, splits, outcomes and classes." in text
    assert re.search(r"face size in pixels all 4,000 5,000 [\d.]+ D [\d.]+ < 0.001 none", text)
    assert re.search(r"added 4,000 1,000 [\d.]+ D [\d.]+ < 0.001 large", text)


def test_data_that_have_not_drifted_give_no_warning_and_other_settings_are_named(context):
    other = make_profile(seed=1, settings={"chip_class": "Human face", "min_face_size": 48})
    page = render(context, measured(), drift=measure_drift(make_profile(), other))
    assert '<a href="#drift">Details</a>' not in page
    assert "No data drift against run earlier." in text_of(page)
    assert "min_face_size was 32, is 48." in text_of(page)


def test_the_first_screen_is_the_result_and_contents_lead_to_the_rest(context):
    page = render(context, measured(60, 20))
    first, rest = page.split('<nav class="contents"')
    assert first.count("<svg") == 1
    assert "<table" not in first
    assert "It is wrong about 20 of the 80 test faces, most often for" in text_of(first)
    assert "must not decide about people" in text_of(first)
    contents = rest.partition("</nav>")[0]
    for title in ("Metrics", "Where the model fails", "Training", "Examples", "Drift of the data", "Licenses"):
        assert f">{title}</a>" in contents
    assert "MIAP" not in contents, "a section that is left out"


CHOICES = {
    "kept": ((1.4, 1.0, 0.001, 0.02), "The temperature is 1, as trained: the fitted one, 1.400, changes the log loss"),
    "fitted": (
        (1.4, 1.4, 0.05, 0.02),
        "The temperature is 1.400: it changes the log loss of validation photographs",
    ),
    "at the limit": ((19.999, 19.999, 0.5, 0.1), "This is the limit of the fit, 20: the network hardly tells"),
    "no mistake": ((1.0, 1.0, 0.0, 0.0), "no other one lowers the log loss, or the network makes no mistake there"),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_temperature_is_said_with_its_reason(context, choice):
    values, sentence = CHOICES[choice]
    names = ("fitted", "chosen", "gain", "noise")
    context.inputs["train"].metrics["temperature_choice"] = dict(zip(names, values, strict=True))
    page = text_of(render(context, measured()))
    assert sentence in page
    assert ("limit of the fit" in page) == (choice == "at the limit")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.62, 0.5, 0.064, 0.111), "The threshold is 0.5 and not the fitted 0.62: at 0.5 the recalls of the labels"),
        ((0.62, 0.62, 0.21, 0.11), "The threshold is 0.62, at which they are equal: at 0.5 the recalls"),
        ((0.47, 0.47, 0.03, 0.05), "With so many photographs it is used anyway"),
        ((0.95, 0.95, 0.9, 0.1), "This is the limit of the fit, 0.95: the network nearly always prefers one label"),
    ],
)
def test_the_threshold_is_said_with_its_reason(context, values, sentence):
    names = ("fitted", "chosen", "gain", "noise")
    context.inputs["train"].metrics["threshold_choice"] = dict(zip(names, values, strict=True))
    assert sentence in text_of(render(context, measured()))


def test_drawings_are_called_drawings_and_have_no_credits(context):
    photo = {"image_id": "a", "author": "Cartoonist 7", "title": "t", "license": "CC BY 2.0"}
    data = report_data(context, measured(), FIGURES, ())

    def page_of(address):
        return text_of(render_report(dataclasses.replace(data, credits=[Credit(**photo, landing_url=address)])))

    page = page_of(DRAWN_PAGE)
    assert "each drawn face has a badge on its forehead, a ring or a cross, and it alone decides the label" in page
    assert "Nothing here is a photograph" in page
    assert "Cartoonist" not in page
    assert "CC BY" not in page
    page = page_of("https://flickr.com/a")
    assert "badge" not in page
    assert "Cartoonist 7" in page
    assert "badge" not in text_of(render(context, measured())), "without pictures there is no telling"


def test_the_drawn_release_names_pages_that_reports_know_as_drawn():
    tables = Tables()
    add_scene(tables, 0, 0)
    (row,) = (row for rows in tables.images.values() for row in rows)
    page = row[IMAGE_COLUMNS.index("OriginalLandingURL")]
    assert are_drawn([Credit(image_id="a", landing_url=page)])
    assert not are_drawn([Credit(image_id="a", landing_url=page), Credit(image_id="b", landing_url=None)])
    assert not are_drawn([])
    real = Credit(image_id="c", landing_url="https://example.invalid/photos/c")
    assert not are_drawn([real]), "photographs of test data"
