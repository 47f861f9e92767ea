"""The reference of a run: the champion's run or the newest earlier one, with other data and never from the future."""

import dataclasses
import logging

import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import TransientError
from ml.flow.table import STAGES
from ml.promotion import reference as module
from ml.promotion.reference import find_reference
from ml.release.delivery import Delivery
from ml.workflow import layout
from ml.workflow.reference import read_reference, write_reference
from ml.workflow.run import Run, load_run, slug
from support.profiles import make_profile


@pytest.fixture(autouse=True)
def no_champion(monkeypatch):
    monkeypatch.setattr(module, "_champion", lambda run: (None, None))


def make_run(root, run_id, month, data=None, **values):
    """Make a run as of the first day of a month, which saw the deliveries of the months before it."""
    deliveries = tuple(
        Delivery(name=f"2024-{number:02}-15", uri="landing", tables=data or f"tables {number}", photographs="p")
        for number in range(1, month)
    )
    config = TrainingConfig(**values)
    as_of = f"2024-{month:02}-01T00:00:00+00:00"
    return Run(storage.normalize(root), slug(run_id), run_id, config, {"reference": ""}, as_of, deliveries)


def evaluated(run, profile=True):
    """Write a run that has evaluated its model, and return it."""
    run.write()
    attempt = layout.attempt_uri(layout.key_uri(run.root, "evaluate", "key"), f"attempt-of-{run.slug}")
    storage.write_json(layout.pin_uri(run.uri, "evaluate"), {"attempt": attempt, "key": "key"})
    if profile:
        storage.write_json(layout.profile_uri(attempt), make_profile(run_id=run.run_id).json_values())
    return run


def found(run):
    reference = find_reference(run)
    return reference and reference.profile.run_id


def test_the_first_run_has_no_reference(tmp_path):
    assert find_reference(make_run(tmp_path, "first", 3)) is None


def test_it_is_the_newest_earlier_run(tmp_path):
    for name, month in (("february", 2), ("april", 4), ("march", 3)):
        evaluated(make_run(tmp_path, name, month))
    assert found(make_run(tmp_path, "may", 5)) == "april"


def test_a_backfill_is_not_compared_with_the_future(tmp_path):
    for name, month in (("february", 2), ("may", 5)):
        evaluated(make_run(tmp_path, name, month))
    assert found(make_run(tmp_path, "march", 3)) == "february"
    assert found(make_run(tmp_path, "january", 1)) is None


def test_a_repeated_run_keeps_the_reference_of_the_first(tmp_path):
    for name, month in (("march", 3), ("april", 4)):
        evaluated(make_run(tmp_path, name, month))
    assert found(make_run(tmp_path, "april again", 4)) == "march"
    corrected = make_run(tmp_path, "corrected", 4, data="other tables")
    assert found(corrected) == "april"


def test_a_run_opened_again_with_the_same_data_stays_without_a_reference(tmp_path):
    # Two months of a backfill that ran at once: the second was opened before the first was evaluated.
    april = dataclasses.replace(make_run(tmp_path, "april", 4), sources={"reference": ""})
    april.write()
    evaluated(make_run(tmp_path, "march", 3))
    assert found(make_run(tmp_path, "april", 4)) is None
    assert found(make_run(tmp_path, "april", 4, data="other tables")) == "march"
    assert found(make_run(tmp_path, "another run of april", 4)) == "march"


def test_a_run_opened_again_with_the_same_data_keeps_its_reference(tmp_path):
    evaluated(make_run(tmp_path, "february", 2))
    april = make_run(tmp_path, "april", 4)
    write_reference(april.uri, find_reference(april))
    april.write()
    evaluated(make_run(tmp_path, "march", 3))
    assert found(make_run(tmp_path, "april", 4)) == "february"
    assert found(make_run(tmp_path, "april", 4, labels={"young": ["Boy"], "old": ["Man"]})) is None


def test_runs_about_something_else_or_without_evaluation_or_profile_do_not_count(tmp_path):
    evaluated(make_run(tmp_path, "cats", 4, chip_class="Cat"))
    evaluated(make_run(tmp_path, "others", 4, labels={"young": ["Boy"], "old": ["Man"]}))
    evaluated(make_run(tmp_path, "of an older version", 4), profile=False)
    make_run(tmp_path, "not evaluated", 4).write()
    assert found(make_run(tmp_path, "may", 5)) is None
    evaluated(make_run(tmp_path, "march", 3))
    assert found(make_run(tmp_path, "may", 5)) == "march"


def test_the_champions_run_comes_first_if_it_qualifies(tmp_path, monkeypatch):
    for name, month in (("march", 3), ("april", 4), ("june", 6)):
        evaluated(make_run(tmp_path, name, month))
    monkeypatch.setattr(module, "_champion", lambda run: (slug("march"), 7))
    reference = find_reference(make_run(tmp_path, "may", 5))
    assert (reference.profile.run_id, reference.champion) == ("march", 7)
    monkeypatch.setattr(module, "_champion", lambda run: (slug("june"), 8))
    reference = find_reference(make_run(tmp_path, "may", 5))
    assert (reference.profile.run_id, reference.champion) == ("april", None)


def test_a_registry_that_does_not_answer_does_not_keep_a_run_from_starting(tmp_path, monkeypatch, caplog):
    monkeypatch.undo()

    def fail(*_):
        raise TransientError("The tracking server does not answer.", "Wait.")

    monkeypatch.setattr("ml.tracking.registry.Registry.champion", fail)
    evaluated(make_run(tmp_path, "april", 4))
    with caplog.at_level(logging.WARNING):
        assert found(make_run(tmp_path, "may", 5)) == "april"
    assert "The tracking server does not answer." in caplog.text


def test_the_run_holds_a_copy_and_its_id_decides_the_key_of_the_evaluation(tmp_path):
    old = evaluated(make_run(tmp_path, "april", 4))
    run = make_run(tmp_path, "may", 5)
    reference = find_reference(run)
    write_reference(run.uri, reference)
    storage.remove(old.uri)
    storage.remove(layout.stages_uri(run.root))
    assert read_reference(run.uri) == reference
    assert reference.id == f"evaluate/key/attempts/attempt-of-{old.slug}"
    inputs = {name: name for name in STAGES["evaluate"].inputs}
    keys = {STAGES["evaluate"].key(run.config, inputs, {"reference": name}) for name in ("", reference.id)}
    assert len(keys) == 2
    write_reference(run.uri, None)
    assert read_reference(run.uri) is None


def test_a_run_of_an_older_version_has_no_reference(tmp_path):
    run = dataclasses.replace(make_run(tmp_path, "old", 3), sources={"tables": "t"})
    run.write()
    assert load_run(run.uri).sources == {"tables": "t", "reference": ""}
