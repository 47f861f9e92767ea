"""For whom the model fails: its accuracy and recall on parts of the test faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, count
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score

from ml.features.columns import SLICES
from ml.features.slicing import Slice
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.estimate import difference

# Of so many faces the interval reaches at most 14 points to either side: fewer name no worst slice.
ENOUGH_FACES = 50
LARGEST_SHARE = 0.8  # of all faces: what holds more is nearly the whole, which has an accuracy of its own


def slice_names(part: Slice, values: NDArray[Any]) -> NDArray[np.object_]:
    """The name of each face's slice, shape (n,), None where the value is NULL."""
    return np.array([None if pd.isna(value) else part.name(value) for value in values], dtype=object)


def _present(
    columns: Mapping[str, NDArray[Any]],
) -> tuple[list[tuple[str, NDArray[np.object_], list[str]]], list[str]]:
    """Each column that has values, with `slice_names` and the names that occur, in order; the titles of the others."""
    present, left_out = [], []
    for column, part in SLICES.items():
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
) -> dict[str, Any]:
    """Accuracy and recall by slice, with intervals, and where they are worst.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        predicted: Label index that each face was given, shape (n,).
        columns: Columns of the features by name, shape (n,) each; of those in `SLICES` some may be absent.
        bootstrap: Of the faces' images.

    Returns:
        `enough_faces`; `left_out`, the titles without a column or without any value; `by`, a list with for each other
        slicing `column`, `title`, `without_value` (faces of NULL), `accuracy_gap` (of the slices of enough faces the
        accuracy of the `best` less that of the `worst`, None where there are not two) and `slices`, each with `name`,
        `faces`, `images`, `accuracy`, `recall` by label and `recall_gap`; `worst`, the slice of enough faces with the
        lowest accuracy; and `widest_recall_gap`, the slice of enough faces of either label whose recalls differ most.
        The last two also hold the `title` of the slicing; None where there is no such slice.
    """
    right = predicted == truth
    present, left_out = _present(columns)
    masks = [names == name for _, names, found in present for name in found]
    parts = [part for mask in masks for part in (mask, mask & (truth == 0), mask & (truth == 1))]
    shares, draws = bootstrap.drawn_shares([(right, part) for part in parts])
    by: list[dict[str, Any]] = []
    start = 0
    for column, names, found in present:
        accuracy_draws = dict(zip(found, draws.T[start::3], strict=False))
        places = range(start, start + 3 * len(found), 3)
        rows = [_row(labels, n, shares[i : i + 3], draws[:, i : i + 3]) for n, i in zip(found, places, strict=True)]
        by.append(
            {
                "column": column,
                "title": SLICES[column].title,
                "without_value": int(pd.isna(names).sum()),
                "accuracy_gap": _accuracy_gap(truth, predicted, names, rows, accuracy_draws),
                "slices": rows,
            }
        )
        start += 3 * len(found)
    everything = [{"title": part["title"], **row} for part in by for row in part["slices"]]
    enough = [row for row in everything if ENOUGH_FACES <= row["faces"] <= LARGEST_SHARE * len(truth)]
    of_both = [row for row in everything if all(row["recall"][label]["count"] >= ENOUGH_FACES for label in labels)]
    return {
        "enough_faces": ENOUGH_FACES,
        "left_out": left_out,
        "by": by,
        "worst": min(enough, key=lambda row: row["accuracy"]["value"], default=None),
        "widest_recall_gap": max(of_both, key=lambda row: abs(row["recall_gap"]["value"]), default=None),
    }


def _row(
    labels: Sequence[str], name: str, shares: Sequence[dict[str, Any]], draws: NDArray[np.float64]
) -> dict[str, Any]:
    """One slice: its shares and their draws are accuracy, recall of the first and recall of the second label."""
    accuracy, first, second = shares
    return {
        "name": name,
        "faces": accuracy["count"],
        "images": accuracy["images"],
        "accuracy": accuracy,
        "recall": {labels[0]: first, labels[1]: second},
        # That of the first label less that of the second.
        "recall_gap": difference(first, second, draws[:, 1] - draws[:, 2]),
    }


def _accuracy_gap(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    names: NDArray[np.object_],
    rows: Sequence[dict[str, Any]],
    draws: Mapping[str, NDArray[np.float64]],
) -> dict[str, Any] | None:
    named = ~pd.isna(names)
    frame = MetricFrame(
        metrics={"faces": count, "accuracy": accuracy_score},
        y_true=truth[named],
        y_pred=predicted[named],
        sensitive_features=pd.Series(names[named]),  # an array of one face is refused
    ).by_group
    enough = frame[frame["faces"] >= ENOUGH_FACES]["accuracy"]
    if len(enough) < 2:
        return None
    best, worst = enough.idxmax(), enough.idxmin()
    shares = {row["name"]: row["accuracy"] for row in rows}
    gap = difference(shares[best], shares[worst], draws[best] - draws[worst])
    return {**gap, "best": best, "worst": worst}


def slice_differences(
    columns: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[np.bool_]], bootstrap: ImageBootstrap
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The difference in accuracy of two models on the same faces, together and by slice, with paired intervals.

    Args:
        columns: Columns of the features, as in `slice_metrics`.
        right: Whether each of the two models, by name, is right; shape (n,). The second is subtracted from the first.
        bootstrap: Of the faces' images.

    Returns:
        The difference on all faces; and a list of `title` and `slices`, each with `name`, `difference` and the models'
        own `accuracy` by their names.
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
        {
            "title": SLICES[column].title,
            "slices": [
                {
                    "name": name,
                    "difference": next(differences),
                    "accuracy": {model: float(hits[names == name].mean()) for model, hits in right.items()},
                }
                for name in found
            ],
        }
        for column, names, found in present
    ]
