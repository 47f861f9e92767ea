"""A model is found by any of its names, and is one attempt whichever was used."""

from __future__ import annotations

import pytest

from ml import storage
from ml.config.deployment import Deployment
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.prediction.run import choose_model
from ml.promotion.run import open_promotion
from ml.retention.references import References
from ml.tracking.models import find_baseline, find_model
from ml.tracking.registry import Registry
from ml.workflow import layout
from ml.workflow.find import find_run
from ml.workflow.opening import open_run
from ml.workflow.run import slug
from support.promotions import make_candidate

CONFIG = TrainingConfig()
RUN_ID = "manual__2026-01-01T00:00:00+00:00"


@pytest.fixture
def made(tmp_path):
    return make_candidate(tmp_path, RUN_ID)


@pytest.fixture
def names(made, tmp_path):
    """Every name of a model that is champion, and a second version that was champion before."""
    registry = Registry(str(tmp_path), CONFIG)
    other = make_candidate(tmp_path, "other")
    for candidate in (other, made):
        registry.register(candidate.trained, candidate.evaluated, candidate.run.uri, candidate.as_of)
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    attempt = made.trained.uri
    return ["champion", "2", RUN_ID, slug(RUN_ID), made.run.uri, attempt, str(storage.local_path(attempt))]


def test_all_names_of_a_model_lead_to_one_attempt(names, made, tmp_path):
    root = str(tmp_path)
    assert {find_model(root, name, CONFIG).train.uri for name in names} == {made.trained.uri}
    assert find_model(root, "previous", CONFIG).train.uri == find_model(root, "other", CONFIG).train.uri
    assert {find_baseline(root, name, CONFIG) for name in names} == {made.trained.uri}
    assert {choose_model(root, name, CONFIG) for name in [*names, None]} == {made.trained.uri}


def test_a_promotion_takes_a_candidate_by_any_name(names, tmp_path):
    registry = Registry(str(tmp_path), CONFIG)
    for name in ("previous", "1", "other", slug("other"), registry.version(1).train, registry.version(1).run):
        promotion = open_promotion(str(tmp_path), f"by {name}", {"candidate": name}, Deployment())
        assert promotion.candidate.number == 1
    run = layout.run_uri(str(tmp_path), slug("by 1", "promotion"))
    assert find_model(str(tmp_path), run, CONFIG).train.uri == registry.version(1).train, "what a promotion pins"


def test_a_run_is_opened_with_a_baseline_by_name(names, made, sample_release, tmp_path):
    values = {"release": str(sample_release), "baseline": "champion"}
    run = open_run(str(tmp_path), "compared", values, find_baseline=find_baseline)
    assert run.config.baseline == made.trained.uri, "what the key of stage compare depends on"
    with pytest.raises(ConfigurationError, match="baseline: there is no model 'chapmion'"):
        open_run(str(tmp_path), "wrong", {**values, "baseline": "chapmion"}, find_baseline=find_baseline)


@pytest.mark.parametrize("name", ["chapmion", "7", "previous"])
def test_an_unknown_name_is_answered_with_the_models_that_exist(made, tmp_path, name):
    registry = Registry(str(tmp_path), CONFIG)
    with pytest.raises(ConfigurationError, match=f"no model '{name}'.*: none") as refused:
        find_model(str(tmp_path), name, CONFIG)
    assert RUN_ID in str(refused.value)
    registry.register(made.trained, made.evaluated, made.run.uri, made.as_of)
    registry.promote(1, instead_of=None)
    with pytest.raises(ConfigurationError, match=r"open-images-human-face: 1, champion \(version 1\)\."):
        find_model(str(tmp_path), name, CONFIG)


def test_a_path_that_holds_no_model_is_refused(made, tmp_path):
    root = str(tmp_path)
    for place, message in (("/nowhere", "is no run and no finished"), (made.evaluated.uri, "of stage evaluate")):
        with pytest.raises(ConfigurationError, match=message):
            find_model(root, place, CONFIG, "candidate")
    storage.remove(layout.pin_uri(made.run.uri, "train"))
    for name in (RUN_ID, made.run.uri):
        with pytest.raises(ConfigurationError, match="has trained no model"):
            find_model(root, name, CONFIG)


def test_a_name_is_no_place_and_a_place_must_be_below_the_roots():
    roots = Roots(["/data"])
    for name in ("champion", "3", RUN_ID, "/data/storage/x", ".."):
        assert validate_below({"baseline": name}, CONFIG, roots).baseline == name
    for place in ("/etc/x", "s3://bucket/x", "../x"):
        with pytest.raises(ConfigurationError, match="not below a root"):
            validate_below({"baseline": place}, CONFIG, roots)
    with pytest.raises(ConfigurationError, match="no model"):  # a name never becomes a path
        find_model("/nowhere", "..", CONFIG)


def test_a_run_that_the_deployments_file_names_is_held(made, tmp_path):
    deployment = Deployment(defaults=TrainingConfig(baseline=RUN_ID))
    references = References(str(tmp_path), deployment)
    references.refresh()
    references.hold({})
    assert references.holder(layout.attempt_id(made.trained.uri)) == "the deployment's file holds it"


def test_a_run_is_found_by_id_or_folder_and_others_are_listed(made, tmp_path):
    root = str(tmp_path)
    for name in (RUN_ID, slug(RUN_ID), made.run.uri):
        assert find_run(root, name) == made.run.uri
    with pytest.raises(ConfigurationError, match=rf"no run 'x'.*The newest runs: .*{RUN_ID[:10]}"):
        find_run(root, "x")
    with pytest.raises(ConfigurationError, match="no run at file:///nowhere/x"):
        find_run(root, "/nowhere/x")
    with pytest.raises(ConfigurationError, match="There are no runs yet"):
        find_run(str(tmp_path / "empty"), "x")
