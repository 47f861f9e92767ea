"""The figures of evaluation and comparison, as SVG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as roc_points

from ml.metrics.abstention import AbstentionMetrics
from ml.metrics.calibration import CalibrationMetrics
from ml.metrics.decision import decide
from ml.metrics.estimate import Estimate
from ml.metrics.predictions import TestPredictions
from ml.metrics.promise import PromiseMetrics
from ml.metrics.records import ComparisonMetrics, EvaluationMetrics
from ml.metrics.slices import ENOUGH_FACES
from ml.report.figures.base import BLUE, DARK, GRAY, GRID, ORANGE, new_figure, plain_axes, to_svg
from ml.report.formats import fixed, with_interval
from ml.report.subject import Subject

ON_CELL = "#2b3138"  # text in a pale cell, which is pale on a dark page too
SQUARE_WIDTH = 6.4  # inches; text sizes suit pictures shown 640 pixels wide


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], subject: Subject) -> bytes:
    """Draw the confusion matrix: number of faces, and their share of the row.

    Args:
        labels: The labels by index.
        counts: Number of faces by annotated label (rows) and predicted label (columns).
        subject: What the labels are about.
    """
    table = np.asarray(counts)
    totals = table.sum(axis=1, keepdims=True)
    shares = table / np.maximum(totals, 1)
    figure = new_figure(5.2, SQUARE_WIDTH)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), number in np.ndenumerate(table):
        share = f"{shares[row, column]:.1%}" if totals[row, 0] else f"no {subject.plural}"
        color = "#ffffff" if shares[row, column] > 0.55 else ON_CELL
        axes.text(column, row, f"{number:,}\n{share}", ha="center", va="center", color=color, fontsize=14)
    names = range(len(labels))
    axes.set_xticks(names, labels)
    axes.set_yticks(names, [f"{label}\n({total:,})" for label, total in zip(labels, totals[:, 0], strict=True)])
    axes.tick_params(length=0, labelsize=11)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("annotated", fontsize=12)
    axes.set_title(f"{subject.heading}, {table.sum():,} test {subject.plural}", loc="left", fontsize=12)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, format=StrMethodFormatter("{x:.0%}"))
    bar.set_label(f"share of the annotated label's {subject.plural}")
    bar.outline.set_visible(False)
    return to_svg(figure)


def roc_curve(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    auc: float | None,
    subject: Subject,
) -> bytes:
    """Draw the receiver operating characteristic for the second label, with the decision threshold's point on it.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        threshold: The second label is predicted where its probability is at least this.
        auc: Area under the curve; None if all faces have one label, so there is no curve to draw.
        subject: What the labels are about.
    """
    figure = new_figure(5.6, SQUARE_WIDTH)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1.2, label="guessing")
    if auc is None:
        axes.text(0.5, 0.55, f"all test {subject.plural} have one label", ha="center", color=DARK)
    else:
        false_rate, true_rate, _ = roc_points(truth, probabilities[:, 1])
        axes.plot(false_rate, true_rate, color=BLUE, linewidth=2, label=f"model, area {auc:.3f}")
        chosen = decide(probabilities, threshold)
        point = chosen[truth == 0].mean(), chosen[truth == 1].mean()
        axes.plot(*point, "o", color=ORANGE, markersize=8, label=f"threshold {threshold:.3g}", clip_on=False)
    first, second = labels
    plain_axes(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(f"share of {subject.plural} annotated {first} that are predicted {second}")
    axes.set_ylabel(f"share of {subject.plural} annotated {second} that are predicted {second}")
    axes.set_title(f"ROC, {subject.title}, {len(truth):,} test {subject.plural}", loc="left", fontsize=12)
    axes.legend(loc="lower right", frameon=False)
    return to_svg(figure)


def precision_recall(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    average_precisions: Sequence[float | None],
    subject: Subject,
) -> bytes:
    """Draw precision against recall for each label, with the point of the predictions and the label's share of faces.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        predicted: Predicted label index of each face, shape (n,).
        average_precisions: Average precision of each label; None if all faces have one label, so there are no curves.
        subject: What the labels are about.
    """
    figure = new_figure(5.6, SQUARE_WIDTH)
    axes = figure.subplots()
    lowest = 1.0
    for index, (label, average, color) in enumerate(zip(labels, average_precisions, (ORANGE, BLUE), strict=True)):
        if average is None:
            continue
        annotated, given = truth == index, predicted == index
        precision, recall, _ = precision_recall_curve(annotated, probabilities[:, index])
        axes.plot(recall, precision, color=color, linewidth=2, label=f"{label}, average precision {average:.3f}")
        axes.axhline(annotated.mean(), color=color, linestyle="--", linewidth=1, label=f"guessing {label}")
        lowest = min(lowest, annotated.mean(), *precision[recall > 0.05])
        if given.any():
            hit = (annotated & given).sum()
            axes.plot(hit / annotated.sum(), hit / given.sum(), "o", color=color, markersize=8, clip_on=False)
            lowest = min(lowest, hit / given.sum())
    if None in average_precisions:
        nothing = f"all test {subject.plural} have one label"
        axes.text(0.5, 0.5, nothing, ha="center", transform=axes.transAxes, color=DARK)
    else:
        axes.plot([], [], "o", color=GRAY, markersize=8, label="at the decision threshold")
        axes.legend(loc="lower left", frameon=False)
    plain_axes(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.3), 1.01)  # room for the legend below the curves
    axes.set_xlabel(f"recall: share of the label's {subject.plural} that are found")
    axes.set_ylabel("precision: share of the predictions that are right")
    title = f"Precision and recall, {subject.title}, {len(truth):,} test {subject.plural}"
    axes.set_title(title, loc="left", fontsize=11)
    return to_svg(figure)


def reliability(calibration: CalibrationMetrics, faces: int) -> bytes:
    """Draw accuracy against confidence, before and after any temperature scaling, in bins of equally many faces.

    Args:
        calibration: Calibration before and after scaling.
        faces: Number of test faces.
    """
    before, after = calibration.before, calibration.after
    sides = [(after, "Temperature 1: nothing is scaled", BLUE)]
    if calibration.temperature != 1:
        sides = [(before, "Before scaling", GRAY), (after, f"After, temperature {calibration.temperature:.3f}", BLUE)]
    figure = new_figure(5.0)
    panels = np.atleast_1d(figure.subplots(1, len(sides), sharex=True, sharey=True))
    rows = [row for found, _, _ in sides for row in found.reliability]
    # Confidence is at least one half. Accuracy may be lower, but a bin's whole interval need not be shown.
    lowest = max(0.0, min([0.5, *(row.accuracy.value or 0.0 for row in rows)]) - 0.03)
    for axes, (found, title, color) in zip(panels, sides, strict=True):
        places = [row.confidence for row in found.reliability]
        axes.plot([lowest, 1], [lowest, 1], color=DARK, linestyle="--", linewidth=1, label="perfectly calibrated")
        values = [row.accuracy.value for row in found.reliability]
        axes.plot(places, values, color=color, marker="o", markersize=4, linewidth=1)
        for row in found.reliability:
            axes.plot([row.confidence] * 2, row.accuracy.ends, color=color, linewidth=1.4, alpha=0.6)
        scores = (("ECE", found.ece), ("Brier", found.brier))
        text = "\n".join(f"{name} {with_interval(score, fixed, without='')}" for name, score in scores)
        plain_axes(axes)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_xlim(0.49, 1.005)
        axes.set_ylim(lowest, 1.005)
        axes.set_title(f"{title}\n{text}", loc="left", fontsize=10.5, color=DARK)
        axes.set_xlabel("confidence: mean of the bin")
    panels[0].set_ylabel("accuracy of the bin, 95% interval")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", frameon=False)
    count = len(calibration.after.reliability)
    bins = f"{count} bins of about {faces // count} chips" if count > 1 else "one bin, too few chips for more"
    figure.suptitle(f"Reliability, {faces:,} test chips, {bins}", x=0.01, ha="left", fontsize=13)
    return to_svg(figure)


def risk_coverage(abstention: AbstentionMetrics, faces: int, promises: PromiseMetrics | None = None) -> bytes:
    """Draw the error rate against the share of faces that get a label, by the confidence that a label needs.

    Args:
        abstention: Coverage and accuracy, with the curve.
        faces: Number of test faces.
        promises: Stated risks that the model can promise, drawn at the coverage that they leave.
    """
    figure = new_figure(4.6, SQUARE_WIDTH)
    axes = figure.subplots()
    rows = sorted(abstention.curve, key=lambda row: row.coverage.defined)
    coverage = [row.coverage.defined for row in rows]
    values = [1 - row.accuracy.defined for row in rows]
    low, high = ([1 - row.accuracy.ends[end] for row in rows] for end in (1, 0))
    axes.fill_between(coverage, low, high, color=BLUE, alpha=0.18, linewidth=0, label="95% interval")
    axes.plot(coverage, values, color=BLUE, linewidth=2, marker="o" if len(rows) < 3 else "", label="wrong predictions")
    chosen = abstention.accuracy.value
    axes.axvline(abstention.coverage.defined, color=ORANGE, linestyle="--", linewidth=1.2)
    axes.plot(
        abstention.coverage.defined,
        0 if chosen is None else 1 - chosen,
        "o",
        color=ORANGE,
        markersize=8,
        clip_on=False,
        label=f"'unknown' below {abstention.min_confidence:.3g}",
    )
    if made := [row for row in (promises.checked if promises else []) if row.coverage and row.coverage.value]:
        places = [row.coverage.defined for row in made if row.coverage]
        axes.plot(places, [row.max_risk for row in made], "v", color=DARK, markersize=7, label="promised at most")
    plain_axes(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.set_xlabel("coverage: share of the chips that get a label, most confident first")
    axes.set_ylabel("risk: share of these labels that are wrong")
    axes.set_title(f"Risk and coverage, {faces:,} test chips", loc="left", fontsize=12)
    figure.legend(loc="outside lower right", ncols=2 if promises else 3, frameon=False)
    return to_svg(figure)


def intervals(
    groups: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]],
    title: str,
    value_name: str,
    reference: float,
    reference_name: str,
    enough: int = 0,
) -> bytes:
    """Draw numbers with their intervals, one per line, beside a reference value.

    Args:
        groups: Title of each group, and its rows: name and number.
        title: Title of the plot.
        value_name: Label of the horizontal axis, which is in percent.
        reference: The reference value.
        reference_name: Name of the reference value.
        enough: Rows of fewer faces are drawn pale.
    """
    lines: list[tuple[str, Estimate | None]] = []
    for name, rows in groups:
        lines += [(name, None), *rows]
    figure = new_figure(1.5 + 0.29 * max(len(lines), 3))
    axes = figure.subplots()
    for place, (_, row) in enumerate(lines):
        if row is not None and row.value is not None:
            color = BLUE if row.count >= enough else GRAY
            axes.plot(row.ends, [place] * 2, color=color, linewidth=2.2, solid_capstyle="butt")
            axes.plot(row.value, place, "o", color=color, markersize=6)
    axes.axvline(reference, color=ORANGE, linestyle="--", linewidth=1.2, label=reference_name)
    names = [name if row is None else f"{name}  ({row.count:,})" for name, row in lines]
    axes.set_yticks(range(len(lines)), names)
    for tick, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if row is None else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1.005), min(high, 1.005))
    plain_axes(axes)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.set_xlabel(value_name)
    axes.set_title(title, loc="left", fontsize=12)
    figure.legend(loc="outside lower right", frameon=False)
    return to_svg(figure)


def accuracy_by_slice(metrics: EvaluationMetrics, subject: Subject) -> bytes | None:
    """Draw the accuracy of each slice; return None if the features have no columns to slice by."""
    if not metrics.slices.by:
        return None
    return intervals(
        [(part.title, [(each.name, each.accuracy) for each in part.slices]) for part in metrics.slices.by],
        f"Accuracy by slice, {subject.title}",
        f"accuracy with its 95% interval (number of {subject.plural} in parentheses)",
        metrics.accuracy.value,
        f"all test {subject.plural}",
        metrics.slices.enough_faces,
    )


def accuracy_differences(comparison: ComparisonMetrics, subject: Subject) -> bytes:
    """Draw the difference in accuracy of two models, overall and by slice."""
    groups: list[tuple[str, Sequence[tuple[str, Estimate]]]] = [
        (f"All test {subject.plural}", [("overall", comparison.accuracy_difference)])
    ]
    groups += [(part.title, [(each.name, each.difference) for each in part.slices]) for part in comparison.slices]
    return intervals(
        groups,
        f"Difference in accuracy, {subject.title}",
        f"accuracy of the model minus that of the baseline, 95% interval (number of {subject.plural} in parentheses)",
        0.0,
        "no difference",
        ENOUGH_FACES,
    )


# The plots of stage evaluate by name; `ml.report.captions` places them in the report. None means that there is no plot.
PLOTS: dict[str, Callable[[EvaluationMetrics, TestPredictions, Subject], bytes | None]] = {
    "confusion_matrix": lambda m, a, subject: confusion_matrix(a.labels, m.confusion.counts, subject),
    "roc": lambda m, a, subject: roc_curve(a.labels, a.truth, a.probabilities, a.threshold, m.auc.value, subject),
    "precision_recall": lambda m, a, subject: precision_recall(
        *(a.labels, a.truth, a.probabilities, a.predicted),
        [m.by_label[label].average_precision.value for label in a.labels],
        subject,
    ),
    "reliability": lambda m, a, subject: reliability(m.calibration, m.faces),
    "risk_coverage": lambda m, a, subject: risk_coverage(m.abstention, m.faces, m.promises),
    "slices": lambda m, a, subject: accuracy_by_slice(m, subject),
}


def draw_plots(metrics: EvaluationMetrics, answers: TestPredictions, subject: Subject) -> dict[str, bytes]:
    """Draw all plots of stage evaluate, as SVG files by name."""
    drawn = {name: draw(metrics, answers, subject) for name, draw in PLOTS.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
