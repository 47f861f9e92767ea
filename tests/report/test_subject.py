"""What the labels are about: no more is claimed than the classes say."""

import pytest

from ml.config.training import FACE, TrainingConfig
from ml.report.subject import subject, subject_of

PRESENTATION = {"female": ["Woman", "Girl"], "male": ["Man", "Boy"]}


def words(about):
    return " ".join(str(value) for value in vars(about).values()).lower()


@pytest.mark.parametrize("labels", [PRESENTATION, {"a": ["Man"], "b": ["Woman"]}])
def test_women_and_men_are_perceived_gender_presentation(labels):
    about = subject_of(FACE, labels)
    assert about.title == "perceived gender presentation"
    assert about.people
    assert "gender or identity of any person" in about.must_not[0]


@pytest.mark.parametrize(
    ("chip_class", "labels", "people"),
    [
        (FACE, {"young": ["Boy", "Girl"], "grown": ["Man", "Woman"]}, True),
        (FACE, {"cat": ["Cat"], "dog": ["Dog"]}, True),
        ("Animal", {"female": ["Cat"], "male": ["Dog"]}, False),
        ("Person", {"sitting": ["Chair"], "standing": ["Tree"]}, True),
    ],
)
def test_other_labels_are_named_by_themselves(chip_class, labels, people):
    about = subject_of(chip_class, labels)
    assert about.title == " or ".join(sorted(labels))
    assert about.people is people
    assert "gender" not in words(about)
    assert ("person" in words(about)) is people


def test_the_subject_of_a_run_is_that_of_its_chips_and_labels():
    assert subject(TrainingConfig()) == subject_of(FACE, PRESENTATION)
    assert subject(TrainingConfig()).noun == "face"
