"""The model card: readable by a model hub, true to the numbers, and harmless whatever the release holds."""

import dataclasses
import socket

import pytest
from huggingface_hub import ModelCard

from ml.flow.exploration import Credit
from ml.metrics.estimate import Estimate
from ml.report.card import plain, render_card
from ml.report.data import Attribution, LicenseCount
from ml.stages.report_data import report_data
from support.reports import measured


@pytest.fixture
def card(context, monkeypatch):
    """The card of a run, written without a network."""

    def refuse(*arguments, **options):
        raise AssertionError("the card asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return render_card(report_data(context, measured(), {}, []))


def test_its_metadata_are_what_a_model_hub_reads(card):
    data = ModelCard(card).data
    assert data.to_dict()["library_name"] == "keras"
    assert data.model_name == "open-images-perceived-gender-presentation"
    results = {result.metric_type: result for result in data.eval_results}
    assert results["accuracy"].metric_value == 0.75
    assert results["accuracy"].dataset_split == "test"
    assert set(results) >= {"accuracy", "balanced_accuracy", "roc_auc", "ece"}


@pytest.mark.parametrize(
    ("version", "name", "identifier"),
    [
        ("V7", "Open Images V7", "open-images-v7"),
        ("V5, V7", "Open Images V5, V7", "open-images-v5-v7"),
        ("", "Open Images", "open-images"),
    ],
)
def test_it_names_the_release_that_the_run_read(context, version, name, identifier):
    data = dataclasses.replace(report_data(context, measured(), {}, []), version=version)
    card = ModelCard(render_card(data))
    assert card.data.datasets == [identifier]
    assert {(result.dataset_name, result.dataset_type) for result in card.data.eval_results} == {(name, identifier)}
    assert f"{name}. Annotations: Google LLC" in card.text


def test_it_says_what_the_model_is_for_and_what_not(card):
    for words in (
        *("## Intended use", "## Out of scope", "## Limits", "## Training", "## Data and licenses"),
        *(
            "perceived gender presentation",
            "not a person's gender or identity",
            "surveillance",
            "decisions about people",
        ),
        *("CC BY 4.0", "CC BY 2.0", "majority baseline"),
    ):
        assert words in card


def test_it_names_the_detector_whose_boxes_are_made_those_of_training(card):
    assert "with the detector `blazeface-full`, unless another one is named" in " ".join(str(card).split())


def test_every_table_row_has_as_many_cells_as_its_head(card):
    tables = [block for block in card.split("\n\n") if block.lstrip().startswith("|")]
    assert len(tables) >= 4
    for table in tables:
        cells = {row.replace("\\|", "").count("|") for row in table.strip().splitlines()}
        assert len(cells) == 1, table


def test_slices_are_told_with_counts_and_intervals(card):
    metrics = measured()
    (row,) = (row for row in metrics.slices.by[0].slices if row.name == "xclick")
    accuracy = row.accuracy
    told = f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
    assert f"| xclick | {row.faces} | {row.images} | {told} |" in card


def test_the_accuracy_of_sure_answers_is_told_with_its_own_count(context):
    metrics = measured()
    accuracy = Estimate(value=0.9, low=0.8, high=0.95, count=50, images=40)
    abstention = metrics.abstention.model_copy(update={"accuracy": accuracy})
    card = render_card(report_data(context, metrics.model_copy(update={"abstention": abstention}), {}, []))
    assert "of 80 test faces of 80 images get a label" in card
    assert "90.0% (80.0% to 95.0%) of these 50 faces of 40 images are right" in card


def test_parameters_of_the_training_are_told(card):
    assert "| Network (`network`) | compact |" in card
    assert "| Epochs (`epochs`) | 2 |" in card


def test_photographs_that_the_report_shows_are_credited(context):
    photos = [
        Credit(image_id="a1", author="<b>Ada</b>", title="At the [sea](x)", landing_url="https://example.org/a1"),
        Credit(image_id="b2", author="", landing_url="javascript:alert(1)", license="https://l.org"),
    ]
    data = dataclasses.replace(report_data(context, measured(), {}, []), credits=photos)
    card = render_card(data)
    assert r"- a1: At the \[sea\]\(x\), by \<b\>Ada\</b\>, <https://example.org/a1>" in card
    assert "- b2: untitled, by an unnamed author, <https://l.org>" in card
    assert "javascript" not in card


def test_whose_photographs_it_learned_from_is_told_by_license(context):
    licenses = [LicenseCount("https://l.org/by", 1200, 300), LicenseCount("a|b", 2, 1)]
    whose = Attribution(authors=301, licenses=licenses, attempts=["file:///storage/stages/extract/0a/attempts/first"])
    data = report_data(context, measured(), {}, [])
    assert data.attribution is None, "there is no stage extract"
    assert "named authors" not in render_card(data)
    card = render_card(dataclasses.replace(data, attribution=whose))
    assert "from 1,202 photographs by 301 named authors" in card
    assert "| https://l.org/by | 1,200 | 300 |" in card
    assert r"| a\|b | 2 | 1 |" in card
    assert "- `file:///storage/stages/extract/0a/attempts/first/images`" in card


@pytest.mark.parametrize("text", ["a|b", "<script>", "[x](javascript:1)", "**b**", "two\nlines", "`code`"])
def test_text_of_a_release_is_shown_and_does_nothing(text):
    shown = plain(text)
    assert "\n" not in shown
    for mark in "|<[*`":
        assert shown.count(mark) == shown.count("\\" + mark)
