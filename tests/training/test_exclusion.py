"""Excluded faces are left out of training, counted, and kept in validation and test."""

import logging

import pytest

from ml import storage
from ml.errors import DataError
from ml.model.record import TrainingRecord
from ml.networks.table import NETWORKS, Network
from ml.stages import train as train_stage
from ml.training import fit as fit_module
from ml.workflow.exclusions import EXCLUDED, read_excluded
from support.features import make_context, make_features, make_run
from support.networks import tiny


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Train on features of 80 training faces without the ids of a list."""
    monkeypatch.setitem(NETWORKS, "compact", Network(tiny, any_size=True))

    def run(faces, **values):
        listed = tmp_path / "faces.csv"
        listed.write_text("\n".join(["rank,face_id", *(f"{rank},{face}" for rank, face in enumerate(faces))]))
        features = make_features(tmp_path)
        run = make_run(tmp_path, features, epochs=1, exclude_faces=storage.normalize(listed), **values)
        context = make_context(run)
        return train_stage.train(context), context

    return run


LISTED = ("train-1", "train-7", "train-30", "validation-2", "test-3", "test-4", "elsewhere")


def test_listed_training_faces_are_not_trained_on(trained, monkeypatch, caplog):
    seen = []
    original = fit_module.Fit.__init__

    def watched(self, config, network, training, validation, *others):
        seen.append((training.reader.rows, validation.reader.rows))
        original(self, config, network, training, validation, *others)

    monkeypatch.setattr(fit_module.Fit, "__init__", watched)
    with caplog.at_level(logging.INFO):
        result, context = trained(LISTED)
    assert seen == [(77, 24)]
    assert result.ledger == {"trained on": 77, "excluded by exclude_faces": 3}
    exclusion = TrainingRecord.model_validate(result.metrics).exclusion
    assert (exclusion.faces, exclusion.kept, exclusion.unknown) == (3, 3, 1)
    assert sum(exclusion.excluded.values()) == 3
    assert read_excluded(context.path(EXCLUDED)) == set(LISTED), "later stages know what was left out"
    assert "3 faces of validation and test; those splits keep them" in caplog.text
    assert "1 ids that are not among the faces" in caplog.text


def test_too_few_faces_that_are_left_are_refused(trained):
    with pytest.raises(DataError, match=r"Too few labeled faces to train on: train ") as caught:
        trained([f"train-{row}" for row in range(74)])
    assert "exclude fewer faces" in caught.value.advice


def test_an_empty_list_excludes_nothing(trained):
    result, _ = trained([])
    assert result.ledger == {"trained on": 80, "excluded by exclude_faces": 0}
