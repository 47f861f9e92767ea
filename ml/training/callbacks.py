"""What happens after each step of an epoch, one callback for each concept.

They run in the order of `epoch_callbacks`: a checkpoint must hold the average that the step has updated.
"""

from __future__ import annotations

import logging
import math
import time

import keras

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.features.feed import Feed
from ml.training.averaging import WeightAverage
from ml.training.checkpoints import Checkpoints, Position

log = logging.getLogger(__name__)
LOG_SECONDS = 10.0
Logs = dict[str, float] | None  # the running means that Keras hands to its callbacks


def check_loss(loss: float, where: str) -> None:
    """Check that a loss is a number.

    Raises:
        ConfigurationError: It is infinite or NaN.
    """
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"The loss became {loss} ({where}): training ran away.", "Lower learning_rate, to a tenth for instance."
        )


class EpochProgress:
    """How far one epoch has come, which its callbacks share.

    Args:
        training: The training faces.
        epochs: Number of epochs of the whole training.
        before: Where the epoch, or what is left of it after a kill, began.
        started: When it began, by the monotonic clock.

    Attributes:
        step: Steps done of the epoch, including those before a kill.
        loss: Mean training loss since `before`.
        images_per_second: Faces learned from a second since `before`.
    """

    def __init__(self, training: Feed, epochs: int, before: Position, started: float) -> None:
        self.training, self.epochs, self.before, self.started = training, epochs, before, started
        self.step, self.loss, self._accuracy = before.step, 0.0, 0.0
        self.images_per_second = 0.0

    @property
    def name(self) -> str:
        """What the log calls the epoch."""
        return f"epoch {len(self.before.history) + 1}/{self.epochs}"

    @property
    def steps_in_all(self) -> int:
        """Steps done since the training began."""
        return len(self.before.history) * self.training.steps + self.step

    def add_step(self, batch: int, logs: Logs) -> None:
        """Take in the running means after a step; `batch` counts from 0 since `before`."""
        assert logs
        self.step = self.before.step + batch + 1
        self.loss, self._accuracy = float(logs["loss"]), float(logs["accuracy"])

    def is_due(self, batch: int) -> bool:
        """Whether logs and checkpoints may follow a step.

        None follow the first step of a fit, which traces the network for many seconds, and the last of an epoch, after
        which the epoch's own come.
        """
        return batch > 0 and self.step < self.training.steps

    def position(self) -> Position:
        """Return where the epoch stands, with means over all its steps, including those before a kill."""
        faces = self.training.faces
        before = faces(self.before.step) / max(1, faces(self.step))
        return Position(
            history=self.before.history,
            step=self.step,
            loss=before * self.before.loss + (1 - before) * self.loss,
            accuracy=before * self.before.accuracy + (1 - before) * self._accuracy,
            seconds=self.before.seconds + time.monotonic() - self.started,
        )


class StopOnBadLoss(keras.callbacks.Callback):
    """Takes in each step's means, and stops a training whose loss is not a number."""

    def __init__(self, progress: EpochProgress) -> None:
        super().__init__()
        self._progress = progress

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Look at the loss after a step."""
        self._progress.add_step(batch, logs)
        check_loss(self._progress.loss, f"{self._progress.name}, step {self._progress.step}")


class AverageWeights(keras.callbacks.Callback):
    """Updates the moving average of the network's weights."""

    def __init__(self, progress: EpochProgress, average: WeightAverage) -> None:
        super().__init__()
        self._progress, self._average = progress, average

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Take in the weights after a step."""
        self._average.update(self.model, self._progress.steps_in_all)


class LogProgress(keras.callbacks.Callback):
    """Measures the speed, and logs now and then how far the epoch has come."""

    def __init__(self, progress: EpochProgress) -> None:
        super().__init__()
        self._progress = progress
        self._first = self._logged = progress.started

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Measure the speed after a step, and log it where that is due."""
        progress, faces, now = self._progress, self._progress.training.faces, time.monotonic()
        if batch == 0:
            self._first = now  # the first step traces the network, so speed is measured from its end
            progress.images_per_second = faces(1) / max(now - progress.started, 1e-9)
            return
        done = faces(progress.step) - faces(progress.before.step + 1)
        progress.images_per_second = speed = done / max(now - self._first, 1e-9)
        if not progress.is_due(batch) or now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        steps = progress.training.steps
        left = faces(steps) - faces(progress.step)
        in_all = left + faces(steps) * (progress.epochs - len(progress.before.history) - 1)
        log.info(
            "%s: step %d of %d, loss %.4f, %.0f images/s, %.0f s left of this epoch, about %.0f min in all",
            *(progress.name, progress.step, steps, progress.loss, speed, left / speed, in_all / speed / 60),
        )


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves the training's state whenever so much time has passed since it last did."""

    def __init__(
        self, progress: EpochProgress, checkpoints: Checkpoints, average: WeightAverage | None, minutes: float
    ) -> None:
        super().__init__()
        self.progress = progress
        self._checkpoints, self._average, self._seconds = checkpoints, average, minutes * 60
        self._saved = progress.started

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save a checkpoint after a step where that is due."""
        now = time.monotonic()
        if self.progress.is_due(batch) and now - self._saved >= self._seconds:
            self._saved = now
            self._checkpoints.save(self.progress.position(), self.model, self._average)


def epoch_callbacks(
    progress: EpochProgress, config: TrainingConfig, average: WeightAverage | None, checkpoints: Checkpoints
) -> list[keras.callbacks.Callback]:
    """Make the callbacks of one epoch, in the order in which they must run."""
    return [
        StopOnBadLoss(progress),
        *([AverageWeights(progress, average)] if average else []),
        LogProgress(progress),
        SaveCheckpoints(progress, checkpoints, average, config.checkpoint_minutes),
    ]
