"""The training loop over epochs, which can resume at any step."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from ml.config.training import TrainingConfig
from ml.errors import ResourceError
from ml.features.feed import Feed
from ml.model.record import EpochRow, time_left
from ml.networks.table import find_network
from ml.networks.transfer import BACKBONE
from ml.training.averaging import WeightAverage
from ml.training.callbacks import EpochProgress, check_loss, epoch_callbacks
from ml.training.checkpoints import Checkpoints, Position, best_epoch, restore
from ml.training.muon import Muon
from ml.training.progress import Report, report_nothing

log = logging.getLogger(__name__)

OPTIMIZERS = {"muon": Muon, "adamw": keras.optimizers.AdamW}  # the choices of the parameter `optimizer`
WARMUP_SHARE = 0.05  # of all steps, because batch statistics and Adam's moments are poor estimates at first
LAST_RATE = 0.01  # of the peak learning rate, at the end of a half cosine
# Training on chips of 64 pixels is 2.4 times as fast as on chips of 96. The last epochs use full-size chips, the size
# at which the network predicts (progressive resizing; Tan and Le 2021, arXiv:2104.00298).
SMALL_SIDE, SMALL_SHARE, SMALLEST_SIDE = 2 / 3, 0.6, 32
FINE_TUNING = 0.02  # of the learning rate, for fine-tuning a pretrained backbone with its head


class Fit:
    """The training loop; a checkpoint holds its state.

    Args:
        config: The run's configuration.
        network: The network, built but not compiled; it ends with the best epoch's weights.
        training: The training faces.
        validation: The validation faces.
        checkpoints: Where the state is saved.
        grows: Whether to train on smaller chips first; the network must accept any size.
        on_epoch: Function to call with the history after each epoch.
        report: Function to call with the progress, at the beginning and then about every second.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: keras.Model,
        training: Feed,
        validation: Feed,
        checkpoints: Checkpoints,
        grows: bool,
        on_epoch: Callable[[list[EpochRow]], None],
        report: Report = report_nothing,
    ) -> None:
        self.config, self.network, self.checkpoints = config, network, checkpoints
        self.training, self.validation, self.on_epoch, self.report = training, validation, on_epoch, report
        self.average = WeightAverage(config.averaging) if config.averaging else None
        # Only a pretrained backbone is worth freezing while the head learns.
        pretrained = find_network(config.network).pretrained and config.backbone_weights != "none"
        self.frozen_epochs = min(config.frozen_epochs, config.epochs) if pretrained else 0
        self.peak = config.learning_rate * (FINE_TUNING if pretrained else 1.0)
        self.small_epochs = int(config.epochs * SMALL_SHARE) if grows else 0
        self.position = Position()

    def run(self) -> list[EpochRow]:
        """Train to the last epoch, or until patience runs out; return the history, one row per epoch."""
        found = self.checkpoints.resume()
        if found:
            self.position, saved = found
            # Compile for the last completed step: at the end of the frozen epochs, that is still the frozen setup.
            self._compile(len(self.position.history) - (0 if self.position.step else 1))
            restore(self.network, self.average, saved)
            log.info("resuming after epoch %d, step %d", len(self.position.history), self.position.step)
        self.report(EpochProgress(self.training, self.config.epochs, self.position, time.monotonic()).state())
        while len(self.position.history) < self.config.epochs and not self._patience_ended():
            # Compile again when the backbone is unfrozen, even if the training was killed exactly there.
            if (epoch := len(self.position.history)) in (0, self.frozen_epochs) and not self.position.step:
                self._compile(epoch)
            self._fit_epoch()
        last = EpochProgress(self.training, self.config.epochs, self.position, time.monotonic()).state()
        self.report(last.model_copy(update={"ended": True}))
        self.checkpoints.load_best(self.position.history, self.network)
        return self.position.history

    def _patience_ended(self) -> bool:
        history, patience = self.position.history, self.config.patience
        if not history or patience is None or len(history) - best_epoch(history) < patience:
            return False
        log.info("no lower validation loss for %d epochs: training stops after epoch %d", patience, len(history))
        return True

    def _compile(self, epoch: int) -> None:
        config, frozen = self.config, epoch < self.frozen_epochs
        if self.frozen_epochs:
            self.network.get_layer(BACKBONE).trainable = not frozen
        epochs = self.frozen_epochs if frozen else config.epochs - self.frozen_epochs
        peak = config.learning_rate if frozen else self.peak
        rate: float | keras.optimizers.schedules.LearningRateSchedule = peak
        if config.schedule == "cosine":
            steps = epochs * self.training.steps
            warmup = max(1, int(WARMUP_SHARE * steps))
            rate = keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=peak / 10,
                decay_steps=max(1, steps - warmup),
                alpha=LAST_RATE,
                warmup_target=peak,
                warmup_steps=warmup,
            )
        optimizer = OPTIMIZERS[config.optimizer](rate, weight_decay=config.weight_decay)
        # Weight decay does not help biases and batch normalization.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.network.compile(
            optimizer=optimizer,
            loss="categorical_crossentropy",
            metrics=["accuracy"],  # unweighted: a share of the faces
            jit_compile=False,  # XLA is slower on CPUs
        )
        # Otherwise the first step creates the variables of optimizer and metrics, and TensorFlow then traces it twice.
        self.network.optimizer.build(self.network.trainable_variables)
        labels = keras.ops.zeros((1, *self.network.output_shape[1:]))
        self.network.compute_metrics(None, labels, labels)
        self.network.reset_metrics()

    def _fit_epoch(self) -> None:
        """Finish the epoch at the current position, evaluate on validation, and add a row to the history."""
        position, epochs = self.position, self.config.epochs
        epoch, started = len(position.history), time.monotonic()
        _seed_dropout(self.network, self.training.reader.seed, epoch, position.step)
        progress = EpochProgress(self.training, epochs, position, started)
        callbacks = epoch_callbacks(progress, self.config, self.average, self.checkpoints, self.report)
        try:
            with self.training.errors(), self.validation.errors():
                dataset = self.training.dataset(epoch, position.step, self._side(epoch))
                self.network.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)
                with self._averaged():
                    measured = self.network.evaluate(self.validation.dataset(), verbose=0, return_dict=True)
        except tf.errors.ResourceExhaustedError as error:
            raise ResourceError(
                "A training step does not fit in memory.",
                "Lower batch_size or chip_size, or give the job more memory.",
            ) from error
        done = progress.position()
        row = EpochRow(
            epoch=epoch + 1,
            loss=done.loss,
            accuracy=done.accuracy,
            val_loss=measured["loss"],
            val_accuracy=measured["accuracy"],
            seconds=round(position.seconds + time.monotonic() - started, 2),
            images_per_second=round(progress.images_per_second, 1),
        )
        check_loss(row.val_loss, f"epoch {epoch + 1}, validation")
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; %.1f s, %.0f images/s, %s",
            *(epoch + 1, epochs, row.loss, row.accuracy, row.val_loss, row.val_accuracy),
            *(row.seconds, row.images_per_second, time_left(row.seconds * (epochs - epoch - 1))),
        )
        history = [*position.history, row]
        if best_epoch(history) == epoch + 1:
            with self._averaged():
                self.checkpoints.save_best(history, self.network)
        self.position = Position(history=history)
        self.checkpoints.save(self.position, self.network, self.average)
        self.on_epoch(history)
        self.report(EpochProgress(self.training, epochs, self.position, started).state())

    def _side(self, epoch: int) -> int:
        """Return the width and height of the chips in an epoch."""
        full = self.training.reader.chip_size
        return max(SMALLEST_SIDE, round(full * SMALL_SIDE / 8) * 8) if epoch < self.small_epochs else full

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the network its averaged weights inside the block; these are validated and kept."""
        if self.average is None:
            yield
            return
        self.average.swap(self.network)
        try:
            yield
        finally:
            self.average.swap(self.network)


def _seed_dropout(network: keras.Model, seed: int, epoch: int, step: int) -> None:
    # Keras does not save the state of random layers, a counter of calls, so a resumed training would draw different
    # numbers.
    for number, layer in enumerate(_dropouts(network)):
        layer.seed_generator.state.assign([seed + number, (epoch << 20) + step])


def _dropouts(network: keras.Model) -> Iterator[keras.layers.Dropout]:
    """Yield the dropout layers, including those inside a backbone."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _dropouts(layer)
        elif isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            yield layer
