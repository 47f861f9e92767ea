"""The figures of exploration and evaluation, as PNG bytes.

Figures are made without pyplot, so that nothing is kept between calls and threads do not disturb one another.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as roc_points

from ml.config import FACE

WIDTH, SQUARE_WIDTH = 9.0, 6.4  # inches; text is set for pictures shown 900 and 640 pixels wide
DPI = 150
BLUE, ORANGE, GREY, DARK = "#2f6f9f", "#d98032", "#b4bac0", "#333a40"
PERCEIVED = "perceived gender presentation"
MANY_FACES = 10
TICKS = 16


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def top_classes(rows: Sequence[tuple[str, int, int]]) -> bytes:
    """The ten classes verified on most images.

    Args:
        rows: Class name, images verified to hold it, images verified not to hold it; in any order, of any length.
    """
    shown = sorted(rows, key=lambda row: (-row[1], row[0]))[:10]
    figure = _figure(1.6 + 0.5 * max(len(shown), 2))
    axes = figure.subplots()
    _paired_bars(axes, shown, "verified present", "verified absent")
    axes.set_title(f"The {len(shown)} classes verified on most images", loc="left")
    axes.set_xlabel("images")
    return to_png(figure)


def verified_images(rows: Sequence[tuple[str, int, int]], subject: str = PERCEIVED) -> bytes:
    """Images by label and by what was verified on them.

    Args:
        rows: Label; images on which every verified label is positive (the notebook's 'good'); images on which a label
            is verified absent (its 'bad').
        subject: What the labels are about.
    """
    figure = _figure(2.0 + 0.6 * max(len(rows), 2))
    axes = figure.subplots()
    _paired_bars(axes, rows, "all labels verified present", "a label verified absent")
    axes.set_title(f"Images by label ({subject}) and verification", loc="left")
    axes.set_xlabel("images")
    return to_png(figure)


def faces_per_image(counts: Mapping[int, int], chip_class: str = FACE) -> bytes:
    """How many images hold how many face boxes; ten and more are one bar.

    Args:
        counts: Faces on an image to the number of such images.
        chip_class: The class whose boxes were counted.
    """
    last = min(max(counts, default=1), MANY_FACES)
    numbers = range(min(counts, default=1) and 1, last + 1)  # the bar for no face only where it was counted
    heights = [sum(n for faces, n in counts.items() if min(faces, MANY_FACES) == number) for number in numbers]
    names = [f"{number} or more" if number == MANY_FACES else str(number) for number in numbers]
    figure = _figure(4.5)
    axes = figure.subplots()
    bars = axes.bar(names, heights, color=BLUE)
    axes.margins(y=0.08)
    axes.bar_label(bars, labels=[f"{height:,}" for height in heights], fontsize=9, color=DARK, padding=2)
    _finish(axes, "y")
    axes.set_title(f"{chip_class}: boxes on an image", loc="left")
    axes.set_xlabel("boxes on the image")
    axes.set_ylabel("images")
    return to_png(figure)


def face_sizes(edges: Sequence[float], counts: Sequence[int], chip_class: str = FACE) -> bytes:
    """A histogram of the faces' longer side. Bins are drawn equally wide, whatever they span.

    Args:
        edges: Limits of the bins in per cent of the photograph's side, ascending, one more than `counts`.
        counts: Faces in each bin.
        chip_class: The class whose boxes were counted.

    Raises:
        ValueError: `edges` and `counts` do not fit.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} bins need {len(counts) + 1} edges, found {len(edges)}")
    figure = _figure(4.5)
    axes = figure.subplots()
    axes.bar(np.arange(len(counts)) + 0.5, counts, width=0.96, color=BLUE)
    step = math.ceil(len(edges) / TICKS)
    shown = range(0, len(edges), step)
    axes.set_xticks(list(shown), [f"{edges[i]:,.0f}" for i in shown])
    axes.set_xlim(0, max(len(counts), 1))
    _finish(axes, "y")
    axes.set_title(f"{chip_class}: size of {sum(counts):,} boxes", loc="left")
    axes.set_xlabel("longer side of the box (% of the photograph's side)")
    axes.set_ylabel("boxes")
    return to_png(figure)


def boxes_by_source(rows: Sequence[tuple[str, str, int, int, int]], chip_class: str = FACE) -> bytes:
    """The share of boxes with each flag set, unset and unknown, one panel a source.

    Args:
        rows: Source of the box (such as xclick), flag (such as IsOccluded), boxes with 1, with 0 and with -1.
        chip_class: The class whose boxes were counted.
    """
    sources = list(dict.fromkeys(row[0] for row in rows))
    heights = [max(1, sum(row[0] == source for row in rows)) for source in sources] or [1]
    figure = _figure(1.0 + sum(0.32 * height + 0.55 for height in heights))
    panels = np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    for source, axes in zip(sources, panels, strict=False):
        mine = [row for row in rows if row[0] == source]
        totals = np.array([max(1, sum(row[2:])) for row in mine])
        left = np.zeros(len(mine))
        for index, (name, colour) in enumerate((("1: set", ORANGE), ("0: not set", BLUE), ("-1: unknown", GREY))):
            share = np.array([row[2 + index] for row in mine]) / totals * 100
            axes.barh([row[1] for row in mine], share, left=left, color=colour, label=name)
            left += share
        axes.invert_yaxis()
        _plain(axes)
        axes.set_xlim(0, 100)
        axes.set_title(f"{source}: {max(sum(row[2:]) for row in mine):,} boxes", loc="left", fontsize=11)
    panels[-1].set_xlabel("share of the boxes (%)")
    figure.suptitle(f"{chip_class}: flags of the boxes, by their source", x=0.01, ha="left", fontsize=13)
    if sources:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=3, frameon=False)
    return to_png(figure)


def training_curves(history: Sequence[Mapping[str, Any]], best_epoch: int) -> bytes:
    """Loss and accuracy of training and validation by epoch, with the epoch whose weights were kept.

    Args:
        history: One mapping an epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy.
        best_epoch: The epoch whose weights the model has.
    """
    figure = _figure(3.8)
    epochs = [row["epoch"] for row in history]
    for axes, name, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("nats a face", "share"), strict=True):
        marker = "o" if len(epochs) < 3 else ""  # a line through one epoch cannot be seen
        axes.plot(epochs, [row[name] for row in history], color=GREY, marker=marker, label="training")
        axes.plot(epochs, [row[f"val_{name}"] for row in history], color=BLUE, marker=marker, label="validation")
        axes.axvline(best_epoch, color=ORANGE, linestyle="--", linewidth=1.2, label=f"epoch kept: {best_epoch}")
        _plain(axes)
        axes.grid(color="#e6e9ec", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{name.capitalize()} by epoch", loc="left")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} ({unit})")
        axes.legend(frameon=False)
    return to_png(figure)


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], subject: str = PERCEIVED) -> bytes:
    """The confusion matrix: faces, and their share of the row.

    Args:
        labels: The labels by index.
        counts: Faces by annotated label (rows) and predicted label (columns).
        subject: What the labels are about.
    """
    table = np.asarray(counts)
    totals = table.sum(axis=1, keepdims=True)
    shares = table / np.maximum(totals, 1)
    figure = _figure(5.2, SQUARE_WIDTH)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), number in np.ndenumerate(table):
        share = f"{shares[row, column]:.1%}" if totals[row, 0] else "no faces"
        colour = "white" if shares[row, column] > 0.55 else DARK
        axes.text(column, row, f"{number:,}\n{share}", ha="center", va="center", color=colour, fontsize=14)
    names = range(len(labels))
    axes.set_xticks(names, labels)
    axes.set_yticks(names, [f"{label}\n({total:,})" for label, total in zip(labels, totals[:, 0], strict=True)])
    axes.tick_params(length=0, labelsize=11)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("annotated", fontsize=12)
    axes.set_title(f"{subject[:1].upper()}{subject[1:]}, {table.sum():,} test faces", loc="left", fontsize=12)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, format=StrMethodFormatter("{x:.0%}"))
    bar.set_label("share of the annotated label's faces")
    bar.outline.set_visible(False)
    return to_png(figure)


def roc_curve(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    auc: float | None,
    subject: str = PERCEIVED,
) -> bytes:
    """The receiver operating characteristic for the second label, with the decision threshold's point on it.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        threshold: The second label is chosen where its probability is at least this.
        auc: Area under the curve, or None where all faces have one label: then there is no curve to draw.
        subject: What the labels are about.
    """
    figure = _figure(5.6, SQUARE_WIDTH)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="guessing")
    if auc is None:
        axes.text(0.5, 0.55, "all test faces have one label", ha="center", color=DARK)
    else:
        false_rate, true_rate, _ = roc_points(truth, probabilities[:, 1])
        axes.plot(false_rate, true_rate, color=BLUE, linewidth=2, label=f"model, area {auc:.3f}")
        chosen = probabilities[:, 1] >= threshold
        point = chosen[truth == 0].mean(), chosen[truth == 1].mean()
        axes.plot(*point, "o", color=ORANGE, markersize=8, label=f"threshold {threshold:g}", clip_on=False)
    first, second = labels
    _plain(axes)
    axes.grid(color="#e6e9ec", linewidth=0.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(f"share of faces annotated {first} that are predicted {second}")
    axes.set_ylabel(f"share of faces annotated {second} that are predicted {second}")
    axes.set_title(f"ROC, {subject}, {len(truth):,} test faces", loc="left", fontsize=12)
    axes.legend(loc="lower right", frameon=False)
    return to_png(figure)


def precision_recall(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    average_precisions: Sequence[float | None],
    subject: str = PERCEIVED,
) -> bytes:
    """Precision against recall for either label, each with the point of the answers given and its share of the faces.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        predicted: Label index that each face was given, shape (n,).
        average_precisions: Of each label, or None where all faces have one label: then there are no curves to draw.
        subject: What the labels are about.
    """
    figure = _figure(5.6, SQUARE_WIDTH)
    axes = figure.subplots()
    lowest = 1.0
    for index, (label, average, colour) in enumerate(zip(labels, average_precisions, (ORANGE, BLUE), strict=True)):
        if average is None:
            continue
        annotated, given = truth == index, predicted == index
        precision, recall, _ = precision_recall_curve(annotated, probabilities[:, index])
        axes.plot(recall, precision, color=colour, linewidth=2, label=f"{label}, average precision {average:.3f}")
        axes.axhline(annotated.mean(), color=colour, linestyle="--", linewidth=1, label=f"guessing {label}")
        lowest = min(lowest, annotated.mean(), *precision[recall > 0.05])
        if given.any():
            hit = (annotated & given).sum()
            axes.plot(hit / annotated.sum(), hit / given.sum(), "o", color=colour, markersize=8, clip_on=False)
            lowest = min(lowest, hit / given.sum())
    if None in average_precisions:
        axes.text(0.5, 0.5, "all test faces have one label", ha="center", transform=axes.transAxes, color=DARK)
    else:
        axes.plot([], [], "o", color=GREY, markersize=8, label="at the decision threshold")
        axes.legend(loc="lower left", frameon=False)
    _plain(axes)
    axes.grid(color="#e6e9ec", linewidth=0.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.3), 1.01)  # room for the legend below the curves
    axes.set_xlabel("recall: share of the label's faces that are found")
    axes.set_ylabel("precision: share of the answers that are right")
    axes.set_title(f"Precision and recall, {subject}, {len(truth):,} test faces", loc="left", fontsize=11)
    return to_png(figure)


def reliability(calibration: Mapping[str, Any], faces: int) -> bytes:
    """Accuracy against confidence, before and after temperature scaling, in bins of equally many faces.

    Args:
        calibration: What `ml.confidence.calibration_metrics` gives.
        faces: Number of test faces.
    """
    figure = _figure(4.7)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    names = {"before": "Before scaling", "after": f"After, temperature {calibration['temperature']:.3f}"}
    rows = [row for name in names for row in calibration[name]["reliability"]]
    lowest = min((min(row["confidence"], row["accuracy"]["low"]) for row in rows), default=0.0)
    lowest = max(0.0, lowest - 0.03)
    for axes, (name, title), colour in zip(panels, names.items(), (GREY, BLUE), strict=True):
        found = calibration[name]
        places = [row["confidence"] for row in found["reliability"]]
        axes.plot([lowest, 1], [lowest, 1], color=DARK, linestyle="--", linewidth=1, label="as right as sure")
        values = [row["accuracy"]["value"] for row in found["reliability"]]
        axes.plot(places, values, color=colour, marker="o", markersize=4, linewidth=1)
        for row in found["reliability"]:
            axes.plot([row["confidence"]] * 2, _bounds(row["accuracy"]), color=colour, linewidth=1.4)
        told = "\n".join(
            f"{text} {found[key]['value']:.3f} ({found[key]['low']:.3f} to {found[key]['high']:.3f})"
            if found[key]["low"] is not None
            else f"{text} {found[key]['value']:.3f}"
            for key, text in (("ece", "ECE"), ("brier", "Brier"))
        )
        axes.text(0.03, 0.97, told, transform=axes.transAxes, va="top", color=DARK, fontsize=10)
        _plain(axes)
        axes.grid(color="#e6e9ec", linewidth=0.8)
        axes.set_xlim(lowest, 1.005)
        axes.set_ylim(lowest, 1.005)
        axes.set_title(title, loc="left", fontsize=12)
        axes.set_xlabel("confidence: mean of the bin")
    panels[0].set_ylabel("accuracy of the bin, 95% interval")
    panels[0].legend(loc="lower right", frameon=False)
    figure.suptitle(f"Reliability, {faces:,} test faces", x=0.01, ha="left", fontsize=13)
    return to_png(figure)


def risk_coverage(abstention: Mapping[str, Any], faces: int) -> bytes:
    """The share of wrong answers against the share of faces that get one, as ever less sure answers are withheld.

    Args:
        abstention: What `ml.confidence.abstention_metrics` gives.
        faces: Number of test faces.
    """
    figure = _figure(4.6, SQUARE_WIDTH)
    axes = figure.subplots()
    rows = sorted(abstention["curve"], key=lambda row: row["coverage"]["value"])
    coverage = [row["coverage"]["value"] for row in rows]
    risks = [tuple(1 - row["accuracy"][name] for name in ("value", "high", "low")) for row in rows]
    values, low, high = zip(*risks, strict=True)
    axes.fill_between(coverage, low, high, color=BLUE, alpha=0.18, linewidth=0, label="95% interval")
    axes.plot(coverage, values, color=BLUE, linewidth=2, marker="o" if len(rows) < 3 else "", label="wrong answers")
    chosen = abstention["accuracy"]["value"]
    axes.axvline(abstention["coverage"]["value"], color=ORANGE, linestyle="--", linewidth=1.2)
    axes.plot(
        abstention["coverage"]["value"],
        0 if chosen is None else 1 - chosen,
        "o",
        color=ORANGE,
        markersize=8,
        clip_on=False,
        label=f"'unknown' below {abstention['min_confidence']:g}",
    )
    _plain(axes)
    axes.grid(color="#e6e9ec", linewidth=0.8)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.set_xlabel("coverage: share of the faces that get a label, the surest first")
    axes.set_ylabel("risk: share of these that are wrong")
    axes.set_title(f"Risk and coverage, {faces:,} test faces", loc="left", fontsize=12)
    axes.legend(loc="upper left", frameon=False)
    return to_png(figure)


def intervals(
    groups: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]],
    title: str,
    value_name: str,
    reference: float,
    reference_name: str,
    enough: int = 0,
) -> bytes:
    """Numbers with their intervals, one line each, beside a value to compare them with.

    Args:
        groups: Title of a group, and its rows: name, and a mapping of value, low, high (None where unknown), count.
        title: Of the plot.
        value_name: Of the horizontal axis, which is in per cent.
        reference: The value to compare with.
        reference_name: What it is.
        enough: Rows of fewer faces are drawn pale.
    """
    lines: list[tuple[str, Mapping[str, Any] | None]] = []
    for name, rows in groups:
        lines += [(name, None), *rows]
    figure = _figure(1.5 + 0.29 * max(len(lines), 3))
    axes = figure.subplots()
    for place, (_, row) in enumerate(lines):
        if row is not None and row["value"] is not None:
            colour = BLUE if row["count"] >= enough else GREY
            axes.plot(_bounds(row), [place] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(row["value"], place, "o", color=colour, markersize=6)
    axes.axvline(reference, color=ORANGE, linestyle="--", linewidth=1.2, label=reference_name)
    names = [name if row is None else f"{name}  ({row['count']:,})" for name, row in lines]
    axes.set_yticks(range(len(lines)), names)
    for tick, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if row is None else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1.005), min(high, 1.005))
    _plain(axes)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.8)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.set_xlabel(value_name)
    axes.set_title(title, loc="left", fontsize=12)
    figure.legend(loc="outside lower right", frameon=False)
    return to_png(figure)


def _bounds(row: Mapping[str, Any]) -> list[float]:
    """The ends of a number's interval; the number itself where it has none."""
    return [row["value"] if row[name] is None else row[name] for name in ("low", "high")]


def _figure(height: float, width: float = WIDTH) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=layout)


def _paired_bars(axes: Axes, rows: Sequence[tuple[str, int, int]], present: str, absent: str) -> None:
    """Two horizontal bars a row, the first row on top."""
    places = np.arange(len(rows))
    for offset, column, colour, name in ((-0.2, 1, BLUE, present), (0.2, 2, ORANGE, absent)):
        values = [int(row[column]) for row in rows]
        bars = axes.barh(places + offset, values, height=0.38, color=colour, label=name)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=9, color=DARK)
    axes.set_yticks(places, [row[0] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _finish(axes, "x")
    axes.figure.legend(loc="outside lower right", ncols=2, frameon=False)


def _finish(axes: Axes, value_axis: str) -> None:
    """The look of a bar chart: grid along the values, thousands separated, whole numbers."""
    _plain(axes)
    axes.set_axisbelow(True)
    axis = axes.xaxis if value_axis == "x" else axes.yaxis
    axis.grid(color="#e6e9ec", linewidth=0.8)
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=DARK, length=0)
