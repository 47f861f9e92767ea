"""The card of an exported data set: readable by the Hub, and harmless whatever the run and the release hold."""

import pytest
from huggingface_hub import DatasetCard

from ml.config.training import TrainingConfig
from ml.report.dataset_card import DatasetCardContent, dataset_name, render_dataset_card


def card(licenses=(("CC BY 2.0", "https://creativecommons.org/licenses/by/2.0/", 3),), **values):
    config = TrainingConfig(**values)
    first, second = config.label_order
    return render_dataset_card(
        DatasetCardContent(
            config=config,
            run_id="run",
            holds="Chips.",
            numbering="Numbers.",
            task="image-classification",
            divided_by="split",
            faces={"train": {first: 1234, second: 2}},
            left_out={"chip": {"too small": 5}},
            photographs=3,
            without_author=0,
            licenses=licenses,
            data_files={"train": "data/train-*"},
        )
    )


def test_its_metadata_tell_where_the_files_are():
    (config,) = DatasetCard(card()).data.to_dict()["configs"]
    assert config == {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}


def test_it_states_no_version_of_open_images_which_the_run_may_not_have_read():
    assert DatasetCard(card()).data.to_dict()["source_datasets"] == ["open-images"]
    assert "v5" not in card().lower()


def test_faces_and_what_was_left_out_are_counted():
    for row in ("| train | 1,234 | 2 |", "| chip | too small | 5 |", "| [CC BY 2.0]("):
        assert row in card()


def test_labels_and_licenses_are_literal_text():
    text = card([("javascript:alert(1)", "javascript:alert(1)", 1)], labels={"a|b": ["Dog"], "<b>": ["Fox"]})
    assert "| split | \\<b\\> | a\\|b |" in text
    assert "](<javascript" not in text


@pytest.mark.parametrize("labels", [{"a/b": ["Dog"], "c d": ["Fox"]}, {"é": ["Dog"], "a": ["Fox"]}])
def test_its_name_is_one_that_the_hub_takes(labels):
    name = dataset_name(TrainingConfig(labels=labels))
    assert name.startswith("open-images-")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
