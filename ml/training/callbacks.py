"""What happens within an epoch: weight averaging, checkpoints, progress and the check of the loss."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import keras

from ml.errors import ConfigurationError
from ml.training.checkpoints import Position

if TYPE_CHECKING:
    from ml.training.fit import Fit

log = logging.getLogger(__name__)
LOG_SECONDS = 10.0


def check_loss(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"The loss became {loss} ({where}): training ran away.", "Lower learning_rate, to a tenth for instance."
        )


class Progress(keras.callbacks.Callback):
    """Within an epoch: averages the weights, keeps checkpoints, logs, and stops a training whose loss is no number.

    Args:
        fit: The training.
        started: When the epoch, or what is left of it, began.
    """

    def __init__(self, fit: Fit, started: float) -> None:
        super().__init__()
        self.images_per_second = 0.0
        self._fit, self._before = fit, fit.position
        self._step, self._loss, self._accuracy = fit.position.step, 0.0, 0.0
        self._started = self._first = self._logged = self._saved = started

    def position(self) -> Position:
        """Where the epoch stands, with means over all its steps, those before a kill among them."""
        faces = self._fit.training.faces
        total = max(1, faces(self._step))
        before = faces(self._before.step) / total
        return Position(
            self._before.history,
            self._step,
            before * self._before.loss + (1 - before) * self._loss,
            before * self._before.accuracy + (1 - before) * self._accuracy,
            self._before.seconds + time.monotonic() - self._started,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss after a step, and see what is due."""
        fit, history = self._fit, self._before.history
        name = f"epoch {len(history) + 1}/{fit.config.epochs}"
        self._step = self._before.step + batch + 1
        self._loss, self._accuracy = float((logs or {})["loss"]), float((logs or {})["accuracy"])
        check_loss(self._loss, f"{name}, step {self._step}")
        steps = fit.training.steps
        if fit.average:
            fit.average.update(fit.network, len(history) * steps + self._step)
        now, faces = time.monotonic(), fit.training.faces
        if batch == 0:
            self._first = now  # the first step of all traces the network, for many seconds
            self.images_per_second = faces(1) / max(now - self._started, 1e-9)
            return
        done = faces(self._step) - faces(self._before.step + 1)
        self.images_per_second = done / max(now - self._first, 1e-9)
        if self._step == steps:
            return
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            left = faces(steps) - faces(self._step)
            in_all = left + faces(steps) * (fit.config.epochs - len(history) - 1)
            log.info(
                "%s: step %d of %d, loss %.4f, %.0f images/s, %.0f s left of this epoch, about %.0f min in all",
                *(name, self._step, steps, self._loss, self.images_per_second),
                *(left / self.images_per_second, in_all / self.images_per_second / 60),
            )
        if now - self._saved >= fit.config.checkpoint_minutes * 60:
            self._saved = now
            fit.checkpoints.save(self.position(), fit.network, fit.average)
