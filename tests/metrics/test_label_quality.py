"""Planted wrong labels are found, by estimates that never saw the face's photograph."""

import numpy as np
import pytest

from ml.metrics.label_quality import folds_of, judge, out_of_fold

FACES, FLIPPED = 1200, 60


@pytest.fixture(scope="module")
def planted():
    """Return embeddings of two overlapping labels, the given labels, which of them are flipped, and image ids."""
    random = np.random.default_rng(0)
    truth = np.arange(FACES) % 2
    embeddings = random.normal(size=(FACES, 24)).astype(np.float32)
    embeddings[:, 0] += np.where(truth == 1, 2, -2)
    flipped = np.zeros(FACES, bool)
    flipped[random.choice(FACES, FLIPPED, replace=False)] = True
    images = np.array([f"image-{face // 3}" for face in range(FACES)], object)  # three faces of both labels on each
    return embeddings, np.where(flipped, 1 - truth, truth), flipped, images


def judged(planted):
    embeddings, given, _, images = planted
    face_ids = np.array([f"face-{face}" for face in range(len(given))], object)
    return judge(given, out_of_fold(embeddings, given, images), face_ids, np.zeros(len(given), int))


def test_planted_wrong_labels_are_among_the_first(planted):
    quality = judged(planted)
    flipped = planted[2]
    assert sorted(quality.ranks) == list(range(1, FACES + 1))
    assert (quality.ranks[flipped] <= 0.1 * FACES).mean() > 0.9
    assert quality.suspect[flipped].mean() > 0.25
    assert flipped[quality.suspect].mean() > 0.9


def test_ranks_follow_the_probability_of_the_given_label(planted):
    quality = judged(planted)
    order = np.argsort(quality.ranks)
    assert (np.diff(quality.scores[order]) >= 0).all()
    assert (quality.scores[quality.suspect] < 0.5).all(), "only a label that the model contradicts is suspect"


def test_equal_scores_are_in_the_order_of_ids():
    ids = np.array(["c", "a", "b", "d"], object)
    quality = judge(np.array([0, 0, 1, 1]), np.array([0.2, 0.2, 0.8, 0.8]), ids, np.zeros(4, int))
    assert quality.ranks.tolist() == [3, 1, 2, 4]


def test_a_model_that_is_less_sure_than_another_is_held_to_its_own_measure():
    given, wrong = np.arange(40) % 2, [4, 24]
    sure = np.where(np.arange(40) < 20, 0.99, 0.7)
    second = np.where(given == 1, sure, 1 - sure)
    second[wrong] = 1 - second[wrong]
    ids = np.array([f"face-{face:02}" for face in range(40)], object)
    separate = judge(given, second, ids, (np.arange(40) < 20).astype(int))
    assert np.flatnonzero(separate.suspect).tolist() == wrong
    assert np.flatnonzero(judge(given, second, ids, np.zeros(40, int)).suspect).tolist() == wrong[:1]


def test_a_label_that_the_model_contradicts_without_being_sure_is_no_suspect():
    """The mean probability of the second label is 0.76 for the faces that have it; for a third it is 0.9 or more."""
    given = np.arange(60) % 2
    second = np.where(given == 1, np.linspace(0.6, 0.95, 60), np.linspace(0.4, 0.05, 60))
    second[[4, 6]] = [0.8, 0.93]
    ids = np.array([f"face-{face:02}" for face in range(60)], object)
    quality = judge(given, second, ids, np.zeros(60, int))
    assert np.flatnonzero(quality.suspect).tolist() == [6]
    assert sorted(quality.ranks[[4, 6]]) == [1, 2]


def test_faces_of_one_label_only_have_no_suspects():
    ids = np.array(["a", "b", "c"], object)
    assert not judge(np.array([0, 0, 1]), np.array([0.9, 0.1, 0.1]), ids, np.array([0, 0, 1])).suspect.any()


def test_no_photograph_is_in_two_folds_and_each_face_is_predicted_once(planted):
    _, given, _, images = planted
    folds = folds_of(given, images)
    assert len(folds) == 5
    assert sorted(np.concatenate([predict for _, predict in folds])) == list(range(FACES))
    for fit, predict in folds:
        assert not set(images[fit]) & set(images[predict])
        assert given[predict].mean() == pytest.approx(given.mean(), abs=0.05)


def test_a_face_does_not_affect_its_own_estimate(planted):
    embeddings, given, _, images = (part[:90] for part in planted)
    changed = embeddings.copy()
    before = out_of_fold(embeddings, given, images)
    (fold,) = (predict for _, predict in folds_of(given, images) if 0 in predict)
    changed[fold[1:]] += 100  # the other faces of its fold, which must not matter either
    after = out_of_fold(changed, given, images)
    assert after[fold[0]] == before[fold[0]]


def test_a_label_on_too_few_images_leaves_the_faces_without_estimate():
    embeddings, given = np.eye(6, dtype=np.float32), np.array([0, 0, 0, 0, 1, 1])
    images = np.array(["a", "b", "c", "d", "e", "e"], object)
    assert folds_of(given, images) == []
    assert np.isnan(out_of_fold(embeddings, given, images)).all()
    assert len(folds_of(given, np.array(list("abcdef"), object))) == 2
