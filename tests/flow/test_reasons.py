"""The table of explanations has every outcome that a ledger can hold, and no other."""

from ml.flow.reasons import EXPLANATIONS, explain
from ml.flow.table import STAGES
from ml.stages import gallery, samples, sheets
from spark_jobs import chip, join_labels


def test_every_outcome_of_a_ledger_is_explained():
    assert list(EXPLANATIONS) == [name for name, stage in STAGES.items() if stage.ledger]
    assert set(EXPLANATIONS["join_labels"]) == {join_labels.LABELLED, *join_labels.REASONS, join_labels.REPLACED}
    assert set(EXPLANATIONS["chip"]) == {chip.CHIPPED, *chip.REASONS}


def test_the_outcomes_that_explore_knows_by_name_are_those_of_the_jobs():
    assert (samples.LABELLED, gallery.REPLACED) == (join_labels.LABELLED, join_labels.REPLACED)
    assert (chip.CHIPPED, *chip.REASONS) == (
        gallery.CHIPPED,
        sheets.ABSENT,
        sheets.UNREADABLE,
        sheets.TOO_LARGE,
        sheets.TOO_SMALL,
    )


def test_an_explanation_names_what_the_chips_show():
    assert explain("join_labels", "no person box", "cat") == "No box of the labels' classes contains enough of the cat."
