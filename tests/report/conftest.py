"""What the tests of the report and the card share."""

import dataclasses

import pytest

from support.features import make_context, make_features, make_run
from support.models import make_model


@pytest.fixture
def context(tmp_path):
    """The context of stage evaluate in a run whose features and model are made up."""
    features = make_features(tmp_path, {"train": (9, 9), "validation": (5, 5), "test": (6, 6)})
    run = make_run(tmp_path, features)
    trained = make_model(tmp_path)
    run.pin(trained)
    made = make_context(run, stage="evaluate")
    return dataclasses.replace(made, inputs={"featurize": features, "train": trained}, uri=made.uri + "-report")
