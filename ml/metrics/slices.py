"""Accuracy and recall on slices of the test faces: where the model fails.

The slicings themselves are rows of the table in `ml.features.columns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.features.columns import AGE_SLICES, SLICINGS
from ml.features.slicing import Slicing
from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.estimate import Bounded, Estimate, difference

# With this many faces the interval reaches at most 14 points to either side; smaller slices cannot be the worst slice.
ENOUGH_FACES = 50
LARGEST_SHARE = 0.8  # of all faces: a larger slice is nearly the whole test split, whose accuracy is reported anyway


class MeasuredSlice(Record):
    """The metrics of one slice.

    Attributes:
        name: Name of the slice.
        faces: Number of faces in the slice.
        images: Number of images that these faces are on.
        accuracy: Share of the slice's faces that are predicted as annotated.
        recall: Recall by annotated label.
        recall_gap: Recall of the first label minus that of the second.
    """

    name: str
    faces: int
    images: int
    accuracy: Bounded
    recall: dict[str, Estimate]
    recall_gap: Estimate


class _Titled(Record):
    title: str


class TitledSlice(MeasuredSlice, _Titled):  # the fields of the base on the right come first in the JSON
    """A slice with the title of its slicing.

    Attributes:
        title: Title of the slicing.
    """


class AccuracyGap(Estimate):
    """The accuracy of a slicing's best slice of enough faces minus that of its worst.

    Attributes:
        best: Name of the best slice.
        worst: Name of the worst slice.
    """

    best: str
    worst: str


class SlicingMetrics(Record):
    """The slices of one slicing.

    Attributes:
        column: The column of the features that the slicing reads.
        title: What the slicing groups faces by, for people.
        without_value: Number of faces whose column is NULL or belongs to no slice.
        accuracy_gap: Gap between the best and the worst slice; None if fewer than two slices have enough faces.
        slices: The slices that have faces.
    """

    column: str
    title: str
    without_value: int
    accuracy_gap: AccuracyGap | None
    slices: list[MeasuredSlice]


class SliceMetrics(Record):
    """The metrics of all slices, and the worst slices.

    Attributes:
        enough_faces: Number of faces that a slice needs to be named the worst.
        left_out: Titles of the slicings whose column is missing or holds no value.
        by: The other slicings.
        worst: The slice of enough faces with the lowest accuracy; None without such a slice.
        widest_recall_gap: The slice whose recalls differ most, among those with enough faces of each label; or None.
    """

    enough_faces: int
    left_out: list[str]
    by: list[SlicingMetrics]
    worst: TitledSlice | None
    widest_recall_gap: TitledSlice | None

    @property
    def by_age(self) -> list[SlicingMetrics]:
        """The slicings that tell the age of the faces; none if nothing tells it."""
        return [part for part in self.by if any(row.name in AGE_SLICES.get(part.column, ()) for row in part.slices)]


class SliceDifference(Record):
    """Two models on one slice.

    Attributes:
        name: Name of the slice.
        difference: Accuracy of the first model minus that of the second.
        accuracy: Accuracy of each model, by the model's name.
    """

    name: str
    difference: Estimate
    accuracy: dict[str, float]


class SlicingDifferences(Record):
    """Two models on the slices of one slicing.

    Attributes:
        title: Title of the slicing.
        slices: The slices of the slicing.
    """

    title: str
    slices: list[SliceDifference]


def slice_names(part: Slicing, values: NDArray[Any]) -> NDArray[np.object_]:
    """Return the name of each face's slice, shape (n,), None where the value is NULL or belongs to no slice."""
    import pandas as pd

    return np.array([None if pd.isna(value) else part.name(value) for value in values], dtype=object)


def _present(
    columns: Mapping[str, NDArray[Any]],
) -> tuple[list[tuple[str, NDArray[np.object_], list[str]]], list[str]]:
    """Return each column that has values, with `slice_names` and the ordered names; and the titles of the others."""
    present, left_out = [], []
    for column, part in SLICINGS.items():
        names = slice_names(part, columns.get(column, np.zeros(0)))
        found = {name for name in names if name is not None}
        if found:
            others = sorted(found - set(part.order), key=_by_number)
            present.append((column, names, [*(name for name in part.order if name in found), *others]))
        else:
            left_out.append(part.title)
    return present, left_out


def _by_number(name: str) -> tuple[float, str]:
    digits = name.rstrip("°")
    return (float(digits) if digits.isdigit() else -1.0, name)


def slice_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    columns: Mapping[str, NDArray[Any]],
    bootstrap: ImageBootstrap,
) -> SliceMetrics:
    """Measure accuracy and recall by slice, with intervals, and find the worst slices.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        predicted: Predicted label index of each face, shape (n,).
        columns: Columns of the features by name, shape (n,) each; columns in `SLICINGS` may be missing.
        bootstrap: Resamples the faces' images.
    """
    right = predicted == truth
    present, left_out = _present(columns)
    masks = [names == name for _, names, found in present for name in found]
    parts = [part for mask in masks for part in (mask, mask & (truth == 0), mask & (truth == 1))]
    shares, draws = bootstrap.drawn_shares([(right, part) for part in parts])
    by: list[SlicingMetrics] = []
    start = 0
    for column, names, found in present:
        accuracy_draws = dict(zip(found, draws.T[start::3], strict=False))
        places = range(start, start + 3 * len(found), 3)
        slices = [_slice(labels, n, shares[i : i + 3], draws[:, i : i + 3]) for n, i in zip(found, places, strict=True)]
        by.append(
            SlicingMetrics(
                column=column,
                title=SLICINGS[column].title,
                without_value=sum(name is None for name in names),
                accuracy_gap=_accuracy_gap(truth, predicted, names, slices, accuracy_draws),
                slices=slices,
            )
        )
        start += 3 * len(found)
    everything = [TitledSlice(title=part.title, **dict(each)) for part in by for each in part.slices]
    enough = [each for each in everything if ENOUGH_FACES <= each.faces <= LARGEST_SHARE * len(truth)]
    of_both = [each for each in everything if all(each.recall[label].count >= ENOUGH_FACES for label in labels)]
    return SliceMetrics(
        enough_faces=ENOUGH_FACES,
        left_out=left_out,
        by=by,
        worst=min(enough, key=lambda each: each.accuracy.value, default=None),
        widest_recall_gap=max(of_both, key=lambda each: abs(each.recall_gap.defined), default=None),
    )


def _slice(labels: Sequence[str], name: str, shares: Sequence[Estimate], draws: NDArray[np.float64]) -> MeasuredSlice:
    """Return one slice; shares and draws hold accuracy, recall of the first label and recall of the second."""
    accuracy, first, second = shares
    return MeasuredSlice(
        name=name,
        faces=accuracy.count,
        images=accuracy.images,
        accuracy=Bounded(**dict(accuracy)),
        recall={labels[0]: first, labels[1]: second},
        recall_gap=difference(first, second, draws[:, 1] - draws[:, 2]),
    )


def _accuracy_gap(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    names: NDArray[np.object_],
    slices: Sequence[MeasuredSlice],
    draws: Mapping[str, NDArray[np.float64]],
) -> AccuracyGap | None:
    import pandas as pd
    from fairlearn.metrics import MetricFrame, count
    from sklearn.metrics import accuracy_score

    named = ~pd.isna(names)
    frame = MetricFrame(
        metrics={"faces": count, "accuracy": accuracy_score},
        y_true=truth[named],
        y_pred=predicted[named],
        sensitive_features=pd.Series(names[named]),  # fairlearn rejects an array of one face
    ).by_group
    enough = frame[frame["faces"] >= ENOUGH_FACES]["accuracy"]
    if len(enough) < 2:
        return None
    best, worst = enough.idxmax(), enough.idxmin()
    shares = {each.name: each.accuracy for each in slices}
    gap = difference(shares[best], shares[worst], draws[best] - draws[worst])
    return AccuracyGap(**dict(gap), best=best, worst=worst)


def slice_differences(
    columns: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[np.bool_]], bootstrap: ImageBootstrap
) -> tuple[Estimate, list[SlicingDifferences]]:
    """Measure the difference in accuracy of two models on the same faces, with paired intervals.

    Args:
        columns: Columns of the features, as in `slice_metrics`.
        right: Whether each of the two models, by name, is right; shape (n,). The second is subtracted from the first.
        bootstrap: Resamples the faces' images.

    Returns:
        The difference on all faces, and the differences by slice.
    """
    first, second = right.values()
    gained = first.astype(np.int64) - second
    present, _ = _present(columns)
    masks = [np.ones(len(gained), bool), *(names == name for _, names, found in present for name in found)]
    shares, draws = bootstrap.drawn_shares([(gained == sign, mask) for mask in masks for sign in (1, -1)])
    differences = iter(
        difference(shares[number], shares[number + 1], draws[:, number] - draws[:, number + 1])
        for number in range(0, len(shares), 2)
    )
    overall = next(differences)
    return overall, [
        SlicingDifferences(
            title=SLICINGS[column].title,
            slices=[
                SliceDifference(
                    name=name,
                    difference=next(differences),
                    accuracy={model: float(hits[names == name].mean()) for model, hits in right.items()},
                )
                for name in found
            ],
        )
        for column, names, found in present
    ]
