"""Runs of the comparison flow: which models they take, and that a comparison that exists is found."""

import pytest

from ml.config.deployment import Deployment
from ml.errors import ConfigurationError
from ml.flow.table import STAGES
from ml.promotion.comparison import open_comparison
from ml.promotion.run import gate, open_promotion, promote
from ml.workflow.run import load_run
from support.promotions import make_candidate


@pytest.fixture
def make(tmp_path):
    return lambda name, month: make_candidate(tmp_path, name, f"2026-0{month}-01T00:00:00+00:00")


@pytest.fixture
def open_(tmp_path):
    return lambda name="pair", **values: open_comparison(str(tmp_path), name, values, Deployment())


def test_two_models_are_compared_on_the_faces_of_the_first_ones_run(make, open_):
    old, new = make("old", 1), make("new", 2)
    run = open_(model=new.trained.uri, baseline=old.trained.uri)
    again = load_run(run.uri)
    assert again.config.baseline == old.trained.uri
    assert {stage: again.pinned(stage).uri for stage in ("train", "evaluate")} == {
        "train": new.trained.uri,
        "evaluate": new.evaluated.uri,
    }
    assert again.pinned("featurize").uri == new.evaluated.inputs["featurize"]


def test_without_parameters_the_newest_model_is_compared_with_the_champion(tmp_path, make, open_):
    old = make("old", 1)
    promotion = open_promotion(str(tmp_path), "crown", {"candidate": old.trained.uri}, Deployment())
    gate(promotion.run)
    version = promote(promotion.run, "by ada")
    new = make("new", 2)
    run = open_()
    assert (run.config.baseline, run.pinned("train").uri) == (old.trained.uri, new.trained.uri)
    assert open_("numbered", model=new.trained.uri, baseline=str(version.number)).config.baseline == old.trained.uri


def test_the_comparison_has_the_key_that_a_promotion_gives_it(tmp_path, make, open_):
    old, new = make("old", 1), make("new", 2)
    promotion = open_promotion(str(tmp_path), "crown", {"candidate": old.trained.uri}, Deployment())
    gate(promotion.run)
    promote(promotion.run, "by ada")
    judged = load_run(open_promotion(str(tmp_path), "judge", {"candidate": new.trained.uri}, Deployment()).run)
    pair = open_(model=new.trained.uri, baseline=old.trained.uri)
    assert pair.key(STAGES["compare"]) == judged.key(STAGES["compare"])


def test_models_that_cannot_be_compared_are_named(make, open_):
    one = make("one", 1)
    with pytest.raises(ConfigurationError, match="there is no model 'champion'"):
        open_()
    with pytest.raises(ConfigurationError, match="Both models are the same"):
        open_(model=one.trained.uri, baseline=one.trained.uri)
    with pytest.raises(ConfigurationError, match="is no run and no finished attempt"):
        open_(model="/nowhere", baseline=one.trained.uri)
