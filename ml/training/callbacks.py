"""The callbacks that run after each step of an epoch.

They run in the order of `epoch_callbacks`, because a checkpoint must hold the average after the step.
"""

from __future__ import annotations

import datetime
import logging
import math
import time

import keras

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.features.feed import Feed
from ml.model.record import TrainingProgress, time_left
from ml.training.averaging import WeightAverage
from ml.training.checkpoints import Checkpoints, Position
from ml.training.progress import Report, report_nothing

log = logging.getLogger(__name__)
LOG_SECONDS, REPORT_SECONDS = 10.0, 1.0
Logs = dict[str, float] | None  # the running means that Keras passes to callbacks


def check_loss(loss: float, where: str) -> None:
    """Check that a loss is finite.

    Raises:
        ConfigurationError: It is infinite or NaN.
    """
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"The loss became {loss} ({where}): training diverged.", "Lower learning_rate, for example to a tenth."
        )


class EpochProgress:
    """The progress of one epoch, which its callbacks share.

    Args:
        training: The training faces.
        epochs: Number of epochs of the whole training.
        before: The position where the epoch began, or where it resumed after a kill.
        started: When it began, on the monotonic clock.

    Attributes:
        step: Completed steps of the epoch, including those before a kill.
        loss: Mean training loss since `before`.
        images_per_second: Training faces per second since `before`.
    """

    def __init__(self, training: Feed, epochs: int, before: Position, started: float) -> None:
        self.training, self.epochs, self.before, self.started = training, epochs, before, started
        self.step, self.loss, self._accuracy = before.step, 0.0, 0.0
        self.images_per_second = 0.0

    @property
    def name(self) -> str:
        """The epoch's name in the log."""
        return f"epoch {len(self.before.history) + 1}/{self.epochs}"

    @property
    def steps_in_all(self) -> int:
        """Completed steps since the training began."""
        return len(self.before.history) * self.training.steps + self.step

    def add_step(self, batch: int, logs: Logs) -> None:
        """Store the running means after a step; `batch` counts from 0 since `before`."""
        assert logs
        self.step = self.before.step + batch + 1
        self.loss, self._accuracy = float(logs["loss"]), float(logs["accuracy"])

    def is_due(self, batch: int) -> bool:
        """Return whether logs and checkpoints may follow a step.

        They skip the first step of a fit, which traces the network for many seconds, and the last step of an epoch,
        which the epoch's own log and checkpoint follow.
        """
        return batch > 0 and self.step < self.training.steps

    def state(self) -> TrainingProgress:
        """Return how far the training has come, with the time left at the present speed."""
        faces, history = self.training.faces, self.before.history
        done, steps, speed = len(history), self.training.steps, self.images_per_second
        if not speed and history:  # the epoch has just begun
            speed = history[-1].images_per_second
        left = max(0, faces(steps) * (self.epochs - done) - faces(self.step))
        return TrainingProgress(
            epochs=self.epochs,
            history=history,
            step=self.step,
            steps=steps,
            images_per_second=round(speed, 1),
            seconds_left=round(left / speed, 1) if speed else None,
            written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def position(self) -> Position:
        """Return the position in the epoch, with means over all its steps, including those before a kill."""
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
    """Stores each step's means in the progress, and stops a training whose loss is not finite."""

    def __init__(self, progress: EpochProgress) -> None:
        super().__init__()
        self._progress = progress

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Check the loss after a step."""
        self._progress.add_step(batch, logs)
        check_loss(self._progress.loss, f"{self._progress.name}, step {self._progress.step}")


class AverageWeights(keras.callbacks.Callback):
    """Updates the moving average of the network's weights."""

    def __init__(self, progress: EpochProgress, average: WeightAverage) -> None:
        super().__init__()
        self._progress, self._average = progress, average

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Update the average after a step."""
        self._average.update(self.model, self._progress.steps_in_all)


class LogProgress(keras.callbacks.Callback):
    """Measures the speed, logs the progress every `LOG_SECONDS`, and reports it every `REPORT_SECONDS`."""

    def __init__(self, progress: EpochProgress, report: Report) -> None:
        super().__init__()
        self._progress, self._report = progress, report
        self._first = self._logged = self._reported = progress.started

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Measure the speed after a step, and log the progress when it is due."""
        progress, faces, now = self._progress, self._progress.training.faces, time.monotonic()
        if batch == 0:
            self._first = now  # the first step traces the network, so speed is measured from its end
            progress.images_per_second = faces(1) / max(now - progress.started, 1e-9)
            return
        done = faces(progress.step) - faces(progress.before.step + 1)
        progress.images_per_second = speed = done / max(now - self._first, 1e-9)
        if not progress.is_due(batch) or now - self._reported < REPORT_SECONDS:
            return
        self._reported, state = now, progress.state()
        self._report(state)
        if now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        log.info(
            "%s: step %d of %d, loss %.4f, %.0f images/s, %s",
            *(progress.name, progress.step, state.steps, progress.loss, speed, time_left(state.seconds_left or 0.0)),
        )


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves the training's state every `minutes`."""

    def __init__(
        self, progress: EpochProgress, checkpoints: Checkpoints, average: WeightAverage | None, minutes: float
    ) -> None:
        super().__init__()
        self.progress = progress
        self._checkpoints, self._average, self._seconds = checkpoints, average, minutes * 60
        self._saved = progress.started

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save a checkpoint after a step when it is due."""
        now = time.monotonic()
        if self.progress.is_due(batch) and now - self._saved >= self._seconds:
            self._saved = now
            self._checkpoints.save(self.progress.position(), self.model, self._average)


def epoch_callbacks(
    progress: EpochProgress,
    config: TrainingConfig,
    average: WeightAverage | None,
    checkpoints: Checkpoints,
    report: Report = report_nothing,
) -> list[keras.callbacks.Callback]:
    """Make the callbacks of one epoch, in the order in which they must run."""
    return [
        StopOnBadLoss(progress),
        *([AverageWeights(progress, average)] if average else []),
        LogProgress(progress, report),
        SaveCheckpoints(progress, checkpoints, average, config.checkpoint_minutes),
    ]
