"""The figure of a training: its curves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from ml.model.record import EpochRow
from ml.report.figures.base import BLUE, GRAY, GRID, ORANGE, new_figure, plain_axes, to_svg


def training_curves(history: Sequence[EpochRow], best_epoch: int) -> bytes:
    """Plot loss and accuracy of training and validation by epoch, with the epoch whose weights were kept.

    Args:
        history: One row per epoch.
        best_epoch: The epoch whose weights the model has.
    """
    figure = new_figure(3.8)
    epochs = [row.epoch for row in history]
    shown = (
        ("loss", "nats per chip", [row.loss for row in history], [row.val_loss for row in history]),
        ("accuracy", "share", [row.accuracy for row in history], [row.val_accuracy for row in history]),
    )
    for axes, (name, unit, training, validation) in zip(figure.subplots(1, 2), shown, strict=True):
        marker = "o" if len(epochs) < 3 else ""  # a line through one epoch is invisible
        axes.plot(epochs, training, color=GRAY, marker=marker, label="training")
        axes.plot(epochs, validation, color=BLUE, marker=marker, label="validation")
        axes.axvline(best_epoch, color=ORANGE, linestyle="--", linewidth=1.2, label=f"epoch kept: {best_epoch}")
        plain_axes(axes)
        axes.grid(color=GRID, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{name.capitalize()} by epoch", loc="left")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} ({unit})")
        axes.legend(frameon=False)
    return to_svg(figure)
