"""The gate: each rule alone, and what people are shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.metrics.comparison import measure
from ml.metrics.predictions import TestPredictions
from ml.metrics.records import ComparisonMetrics, EvaluationRecord
from ml.promotion.gate import Evidence, Verdict, judge
from ml.report.subject import subject, subject_of
from ml.tracking.registry import Version
from support.promotions import evaluation


def version(number, as_of="2026-01-01T00:00:00+00:00"):
    place = f"file:///storage/{number}"
    return Version(
        model="open-images-human-face", number=number, train=place, evaluate=place, run=place, as_of=as_of, accuracy=0.9
    )


def answered(right, sources):
    """Make predictions of which the given ones are right; labels 0 and 1 alternate, each face has its own image."""
    truth = np.arange(len(right)) % 2
    second = np.where(truth == right, 0.9, 0.1)
    columns = {"image_id": np.arange(len(right)).astype(str), "source": sources}
    return TestPredictions(("female", "male"), 0.5, truth, np.stack([1 - second, second], axis=1), columns)


def compared(candidate, champion, sources=None):
    """The comparison of two models by which faces each gets right."""
    sources = np.array(["all"] * len(candidate)) if sources is None else sources
    found = measure(answered(candidate, sources), answered(champion, sources))
    about = {"attempt": "file:///attempt", "network": "compact", "threshold": 0.5}
    values = {"models": {"model": about, "baseline": about}, **found.json_values()}
    return ComparisonMetrics.model_validate(json.loads(json.dumps(values)))


def judged(candidate, champion, evaluation, comparison, config, about=None):
    """The verdict of the gate."""
    report = "file:///compare.html" if comparison else None
    about = about or subject(TrainingConfig())
    return judge(candidate, champion, Evidence(evaluation, about, comparison, report), config)


def rules(verdict):
    return {rule.name: rule.passed for rule in verdict.rules}


def faces(*right):
    """1,000 faces, of which all but the given ones are right."""
    found = np.ones(1000, bool)
    for part in right:
        found[part] = False
    return found


def test_without_a_champion_only_the_floor_counts():
    verdict = judged(version(1), None, evaluation(108), None, PromotionConfig())
    assert rules(verdict) == {"floor": True}
    assert verdict.passed
    assert "none yet" in verdict.markdown()
    assert "| accuracy | 0.900 | 120 |" in verdict.markdown()


def sliced(accuracy, faces, age=True):
    """An evaluation whose worst slice are the young, one of its two slices by age."""
    names = {"name": "Young", "faces": faces, "images": faces}
    share = {
        "value": accuracy,
        "low": accuracy - 0.1,
        "high": min(1.0, accuracy + 0.1),
        "count": faces,
        "images": faces,
    }
    young = {**names, "accuracy": share, "recall": {}, "recall_gap": share}
    by_age = {"column": "age_presentation", "title": "Age", "without_value": 0, "accuracy_gap": None, "slices": [young]}
    record = evaluation(108).json_values()
    record["worst_slice"] = {"title": "Age", **young} if faces >= 50 else None
    record["age"] = [by_age] if age else []
    return EvaluationRecord.model_validate(record)


@pytest.mark.parametrize(
    ("accuracy", "faces", "floor", "passed", "told"),
    [
        (0.65, 80, None, None, ""),
        (0.65, 80, 0.7, False, "The worst slice is Age: Young, accuracy 65.0% (55.0% to 75.0%) on 80 chips"),
        (0.7, 80, 0.7, True, "required: 70.0%"),
        (0.2, 30, 0.7, True, "No slice has 50 chips."),
    ],
)
def test_a_slice_of_enough_faces_must_reach_the_slice_floor(accuracy, faces, floor, passed, told):
    config = PromotionConfig(slice_floor=floor)
    verdict = judged(version(1), None, sliced(accuracy, faces), None, config)
    assert rules(verdict).get("slice_floor") is passed
    assert verdict.passed is (passed is not False)
    assert told in " ".join(rule.told for rule in verdict.rules)


def test_the_slice_floor_says_if_nothing_is_known_of_children():
    verdict = judged(version(1), None, sliced(0.9, 80, age=False), None, PromotionConfig(slice_floor=0.7))
    assert "Accuracy by age is not measured" in verdict.markdown()


def test_without_a_champion_the_table_has_no_blank_columns():
    text = judged(version(1), None, evaluation(108), None, PromotionConfig()).markdown()
    assert "| metric | candidate | faces |\n|---|---:|---:|" in text
    assert "|  |" not in text


@pytest.mark.parametrize(("right", "floor", "passed"), [(60, 0.0, False), (80, 0.05, True), (80, 0.2, False)])
def test_the_low_end_of_the_interval_must_lie_above_the_majority_by_the_floor(right, floor, passed):
    verdict = judged(version(1), None, evaluation(right), None, PromotionConfig(floor=floor))
    assert verdict.passed is passed
    (rule,) = verdict.rules
    assert rule.threshold == 0.5 + floor
    assert rule.value < right / 120
    assert "Always predicting female reaches 50.0%" in rule.told


@pytest.mark.parametrize(("lost", "margin", "passed"), [(10, 0.01, True), (11, 0.01, False), (30, 0.05, True)])
def test_the_difference_on_the_same_faces_may_reach_the_margin(lost, margin, passed):
    comparison = compared(faces(slice(0, 100 + lost)), faces(slice(0, 100)))
    config = PromotionConfig(margin=margin, slice_margin=0.5)
    verdict = judged(version(2), version(1), evaluation(108), comparison, config)
    assert rules(verdict) == {"as_of": True, "floor": True, "difference": passed, "slices": True}
    assert verdict.passed is passed
    assert (verdict.reasons == "") is passed


def test_a_slice_that_is_clearly_worse_refuses_a_candidate_that_is_better_on_the_whole():
    sources = np.array(["many"] * 900 + ["some"] * 100)
    comparison = compared(faces(slice(900, 940)), faces(slice(0, 60)), sources)
    verdict = judged(version(2), version(1), evaluation(108), comparison, PromotionConfig())
    assert rules(verdict) == {"as_of": True, "floor": True, "difference": True, "slices": False}
    assert "some, −40.0 points" in verdict.reasons
    assert "on 100 chips" in verdict.reasons


@pytest.mark.parametrize(
    ("faces_of_slice", "lost", "why"), [(49, 40, "too few faces"), (100, 4, "within the margin"), (50, 3, "by chance")]
)
def test_a_slice_that_may_be_worse_by_chance_refuses_nothing(faces_of_slice, lost, why):
    sources = np.array(["some"] * faces_of_slice + ["many"] * (1000 - faces_of_slice))
    comparison = compared(faces(slice(0, lost)), faces(slice(960, 1000)), sources)
    verdict = judged(version(2), version(1), evaluation(108), comparison, PromotionConfig())
    assert verdict.passed, why
    assert ("may be chance, because the interval contains zero" in verdict.rules[-1].told) == (why == "by chance")


@pytest.mark.parametrize(("allowed", "passed"), [(False, False), (True, True)])
def test_a_candidate_older_than_the_champion_passes_only_where_it_is_allowed(allowed, passed):
    champion = version(1, "2026-03-01T00:00:00+00:00")
    verdict = judged(version(2), champion, evaluation(108), None, PromotionConfig(allow_older=allowed))
    assert rules(verdict) == {"as_of": passed, "floor": True}
    assert "2026-03-01 00:00 UTC" in verdict.rules[0].told


def test_a_candidate_of_the_same_instant_is_not_older():
    assert judged(version(2), version(1), evaluation(108), None, PromotionConfig()).passed


def test_the_table_has_both_models_the_difference_its_interval_and_the_faces():
    sources = np.array(["a|b"] * 900 + ["some"] * 60 + ["few"] * 40)
    comparison = compared(faces(slice(0, 100)), faces(slice(0, 150)), sources)
    text = judged(version(2), version(1), evaluation(108), comparison, PromotionConfig()).markdown()
    lines = [line for line in text.splitlines() if line.startswith("| accuracy")]
    assert lines[0].startswith("| accuracy | 0.900 | 0.850 | +0.050 | +0.0")
    assert lines[0].endswith("| 1,000 |")
    assert [line.split(" | ")[0] for line in lines[1:]] == [
        "| accuracy, Source of the box: a\\|b",
        "| accuracy, Source of the box: some",
    ], "a slice of 40 faces tells nothing"
    assert "| log loss | " in text
    assert "| metric | candidate | champion | difference | 95% interval | faces |" in text
    assert "file:" not in text, "the page links the reports; an address of the storage leads nowhere in a browser"
    assert "annotators perceived" in text


def test_a_verdict_is_read_back_from_json():
    comparison = compared(faces(slice(0, 100)), faces(slice(0, 150)))
    verdict = judged(version(2), version(1), evaluation(108), comparison, PromotionConfig())
    told = json.loads(json.dumps(verdict.model_dump(mode="json"), allow_nan=False))
    assert told["passed"] is True
    assert Verdict.model_validate(told) == verdict


def test_the_verdict_about_other_labels_speaks_of_those():
    pets = subject_of("Animal", {"cat": ["Cat"], "dog": ["Dog"]})
    text = judged(version(1), None, evaluation(108), None, PromotionConfig(), pets).markdown()
    assert "cat for the classes Cat; dog for the classes Dog" in text
    assert "gender" not in text
