"""Stage train: fits the run's network to features and keeps the epoch with the lowest validation loss."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ml import plots, storage, tracking
from ml.averaging import WeightAverage
from ml.calibration import apply_temperature, choose_threshold, face_log_losses, fit_temperature
from ml.checkpoints import Checkpoints, Position, best_epoch, restore
from ml.config import FACE, RunConfig
from ml.data import FeatureReader, Feed
from ml.errors import ConfigurationError, DataError, ResourceError
from ml.guards import check_kept, check_label_order, check_side
from ml.manifests import Manifest
from ml.metrics import decide
from ml.model import OTHER_LABELS, PERCEIVED_GENDER, Description, write_model
from ml.networks import BACKBONE, NETWORKS, build_network
from ml.optimisers import Muon
from ml.stages import Context, Result

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.05  # of all steps: batch statistics and Adam's moments are still guesses in the first ones
LAST_RATE = 0.01  # of the peak learning rate, reached by a half cosine
# Chips of 64 pixels in place of 96 are learned from 2.4 times as fast; the last epochs see them as they are, so that
# the network is used at the size it ended with (progressive resizing; Tan and Le 2021, arXiv:2104.00298).
SMALL_SIDE, SMALL_SHARE, SMALLEST_SIDE = 2 / 3, 0.6, 32
FINE_TUNING = 0.02  # of the learning rate, for the whole of a network whose backbone was pretrained
LOG_SECONDS = 10.0
REFERENCE_CANDIDATES = 256
COPIES = (
    8  # of the weights: network, two moments, average; twice, since the last checkpoint goes after the next is there
)


def train(context: Context) -> Result:
    """Train the run's network on its features and write the model into the attempt.

    Writes what `ml.model.write_model` does, `history.json` and `curves.png`. The test split is not read. A training
    that was killed goes on from its last checkpoint, when the same run tries again.

    Raises:
        DataError: There are too few faces, or the features are not what their manifest states.
        GuardError: Label order, pixels or channel sums are not what was prepared.
        ConfigurationError: The loss became no number, or the backbone's weights do not fit.
        ResourceError: A batch does not fit into memory, or the checkpoints not onto the disk.
    """
    config, features = context.config, context.inputs["featurize"]
    check_label_order(config.label_order, features.metrics["labels"], f"The features {features.uri}")
    check_faces(features, config.min_faces)
    # On CPUs this is enough for the same model each time. TensorFlow's op determinism would take away the prefetching
    # of the faces, and with it a third of the speed.
    keras.utils.set_random_seed(config.seed)
    reader = FeatureReader(features, "train", seed=config.seed)
    training = Feed(
        reader, config.batch_size, config.balance, config.augment, config.mixing, smoothing=config.label_smoothing
    )
    validation = Feed(FeatureReader(features, "validation"), config.batch_size, config.balance)
    gpus = tf.config.list_physical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    with tracking.track(context) as tracked, strategy.scope():
        for _ in validation.reader.checked_batches(config.batch_size):
            pass  # the whole pass is checked before any time is spent on learning
        network = build_network(config.network, reader.chip_size, len(reader.labels), config.backbone_weights)
        if grows := config.network == "compact" and config.augment:
            network = NETWORKS["compact"](None, len(reader.labels))
        size = network.count_params() * 4
        storage.check_space(context.checkpoints, size * COPIES, f"checkpoints of {network.count_params():,} parameters")
        log.info(
            "training %s (%s parameters) on %s: %s faces of %s, %s for validation",
            *(config.network, f"{network.count_params():,}", _devices(gpus), f"{reader.rows:,}"),
            *(dict(zip(reader.labels, reader.faces, strict=True)), f"{validation.reader.rows:,}"),
        )
        checkpoints = Checkpoints(context.checkpoints)
        history = Fit(config, network, training, validation, checkpoints, grows, tracked.log_history).run()
        if grows:
            fixed = build_network(config.network, reader.chip_size, len(reader.labels))
            fixed.set_weights(network.get_weights())
            network = fixed
        return _write(context, network, history, validation.reader, tracked)


def check_faces(features: Manifest, min_faces: int) -> None:
    """Check that there are faces enough to learn from and to measure by.

    Raises:
        DataError: It says how many faces of each label each split has, and how many are needed.
    """
    labels: list[str] = features.metrics["labels"]
    faces: dict[str, dict[str, int]] = features.metrics["faces"]
    needed = {"train": min_faces, "validation": 1, "test": 1}
    if all(faces[split][label] >= least for split, least in needed.items() for label in labels):
        return
    told = "; ".join(
        f"{split} {', '.join(f'{faces[split][label]} {label}' for label in labels)} (needed: {least} each)"
        for split, least in needed.items()
    )
    raise DataError(
        f"Too few labelled faces to train on: {told}.",
        "Use a larger release, lower min_face_size or min_faces, or choose split digest, which divides all images.",
    )


class Fit:
    """The loop over epochs: its state is what a checkpoint holds.

    Args:
        config: Of the run.
        network: Built, not compiled; has the best epoch's weights in the end.
        training: The training faces.
        validation: The validation faces.
        checkpoints: Where the state is kept.
        grows: Train on smaller chips first, for which the network must take any size.
        on_epoch: Called with the history after each epoch.
    """

    def __init__(
        self,
        config: RunConfig,
        network: keras.Model,
        training: Feed,
        validation: Feed,
        checkpoints: Checkpoints,
        grows: bool,
        on_epoch: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.config, self.network, self.checkpoints = config, network, checkpoints
        self.training, self.validation, self.on_epoch = training, validation, on_epoch
        check_side("train", training.reader.split, "training")
        check_side("validation", validation.reader.split, "validation")
        self.average = WeightAverage(config.averaging) if config.averaging else None
        # Only a pretrained backbone is worth keeping as it is while the head learns.
        pretrained = config.network.startswith("transfer:") and config.backbone_weights != "none"
        self.frozen_epochs = min(config.frozen_epochs, config.epochs) if pretrained else 0
        self.peak = config.learning_rate * (FINE_TUNING if pretrained else 1.0)
        self.small_epochs = int(config.epochs * SMALL_SHARE) if grows else 0
        self.position = Position()

    def run(self) -> list[dict[str, Any]]:
        """Train to the last epoch, or until patience is at its end; return the history, one row an epoch."""
        found = self.checkpoints.resume()
        if found:
            self.position, arrays = found
            # With the optimiser of the last step done, which at the end of the frozen epochs is still the frozen one's.
            self._compile(len(self.position.history) - (0 if self.position.step else 1))
            restore(self.network, self.average, arrays)
            log.info("resuming after epoch %d, step %d", len(self.position.history), self.position.step)
        while len(self.position.history) < self.config.epochs and not self._patience_ended():
            # The network is compiled anew where the backbone thaws, also when the training was killed just there.
            if (epoch := len(self.position.history)) in (0, self.frozen_epochs) and not self.position.step:
                self._compile(epoch)
            self._fit_epoch()
        history = self.position.history
        self.checkpoints.load_best(history, self.network)
        kept = self.network.evaluate(self.validation.dataset(), verbose=0, return_dict=True)["loss"]
        check_kept(history[best_epoch(history) - 1]["val_loss"], kept, best_epoch(history))
        return history

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
        rate: Any = peak
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
        kinds = {"muon": Muon, "adamw": keras.optimizers.AdamW}
        optimiser = kinds[config.optimizer](rate, weight_decay=config.weight_decay)
        # Biases and batch normalisation are few and have nothing to gain from being small.
        optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.network.compile(
            optimizer=optimiser,
            loss="categorical_crossentropy",
            metrics=["accuracy"],  # of faces, not of weights: a share that can be counted
            jit_compile=False,  # XLA is slower on CPUs
        )

    def _fit_epoch(self) -> None:
        """Train the epoch at the position to its end, measure on validation, and add its row to the history."""
        position, epochs = self.position, self.config.epochs
        epoch, started = len(position.history), time.monotonic()
        _seed_dropout(self.network, self.training.reader.seed, epoch, position.step)
        progress = Progress(self, started)
        try:
            with self.training.errors(), self.validation.errors():
                dataset = self.training.dataset(epoch, position.step, self._side(epoch))
                self.network.fit(dataset, shuffle=False, verbose=0, callbacks=[progress])
                with self._averaged():
                    measured = self.network.evaluate(self.validation.dataset(), verbose=0, return_dict=True)
        except tf.errors.ResourceExhaustedError as error:
            raise ResourceError(
                "A training step does not fit into memory.",
                "Lower batch_size or chip_size, or give the job more memory.",
            ) from error
        done = progress.position()
        row = {
            "epoch": epoch + 1,
            "loss": done.loss,
            "accuracy": done.accuracy,
            "val_loss": measured["loss"],
            "val_accuracy": measured["accuracy"],
            "seconds": round(position.seconds + time.monotonic() - started, 2),
            "images_per_second": round(progress.images_per_second, 1),
        }
        _check_loss(row["val_loss"], f"epoch {epoch + 1}, validation")
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; %.1f s, %.0f images/s",
            *(epoch + 1, epochs, row["loss"], row["accuracy"], row["val_loss"], row["val_accuracy"]),
            *(row["seconds"], row["images_per_second"]),
        )
        history = [*position.history, row]
        if best_epoch(history) == epoch + 1:
            with self._averaged():
                self.checkpoints.save_best(history, self.network)
        self.position = Position(history)
        self.checkpoints.save(self.position, self.network, self.average)
        self.on_epoch(history)

    def _side(self, epoch: int) -> int:
        """Width and height of the chips that an epoch trains on."""
        full = self.training.reader.chip_size
        return max(SMALLEST_SIDE, round(full * SMALL_SIDE / 8) * 8) if epoch < self.small_epochs else full

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network with its averaged weights, which are what is validated and kept."""
        if self.average is None:
            yield
            return
        self.average.swap(self.network)
        try:
            yield
        finally:
            self.average.swap(self.network)


def _seed_dropout(network: keras.Model, seed: int, epoch: int, step: int) -> None:
    # Keras does not save the state of random layers, which counts the calls: a training that was resumed would draw
    # other numbers.
    for number, layer in enumerate(_dropouts(network)):
        layer.seed_generator.state.assign([seed + number, (epoch << 20) + step])


def _dropouts(network: keras.Model) -> Iterator[keras.layers.Dropout]:
    """The layers of dropout, those inside a backbone among them."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _dropouts(layer)
        elif isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            yield layer


def _check_loss(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"The loss became {loss} ({where}): training ran away.", "Lower learning_rate, to a tenth for instance."
        )


def _devices(gpus: list[Any]) -> str:
    if not gpus:
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"
    return ", ".join(str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus)


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
        _check_loss(self._loss, f"{name}, step {self._step}")
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


def _write(
    context: Context,
    network: keras.Model,
    history: list[dict[str, Any]],
    validation: FeatureReader,
    tracked: tracking.TrackedRun,
) -> Result:
    """Write the attempt's files and give its metrics."""
    features, config = context.inputs["featurize"], context.config
    best = history[best_epoch(history) - 1]
    temperature, threshold, measured = calibrate(network, validation)
    description = Description(
        labels=validation.labels,
        meaning=PERCEIVED_GENDER if features.metrics["chip_class"] == FACE else OTHER_LABELS,
        chip_size=validation.chip_size,
        margin=features.metrics["margin"],
        chip_class=features.metrics["chip_class"],
        network=config.network,
        parameters=network.count_params(),
        best_epoch=best["epoch"],
        validation=measured,
        features=features.uri,
        temperature=temperature,
        threshold=threshold,
    )
    write_model(context.uri, network, description, next(validation.batches(REFERENCE_CANDIDATES)).pixels)
    storage.write_json(context.path("history.json"), history)
    curves = plots.training_curves(history, best["epoch"])
    storage.write_bytes(context.path("curves.png"), curves)
    tracked.log_file("curves.png", curves)
    tracked.log_model(network, description)
    log.info(
        "kept epoch %d of %d; temperature %.3f, threshold %.3f; validation loss %.4f, accuracy %.4f on %d faces (the "
        "larger label alone: %.4f)",
        *(best["epoch"], len(history), temperature, threshold, measured["loss"], measured["accuracy"]),
        *(validation.rows, measured["majority"]),
    )
    return Result(
        {
            "labels": description.labels,
            "network": config.network,
            "parameters": description.parameters,
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "validation": measured,
            "temperature": temperature,
            "threshold": threshold,
            "images_per_second": statistics.median(row["images_per_second"] for row in history),
            "seconds": round(sum(row["seconds"] for row in history), 2),
            "history": context.path("history.json"),
            "curves": context.path("curves.png"),
            "model": context.path("model.keras"),
            "mlflow": tracked.finish({"best_epoch": best["epoch"], "temperature": temperature, "validation": measured}),
        }
    )


def calibrate(network: keras.Model, validation: FeatureReader) -> tuple[float, float, dict[str, float]]:
    """Fit temperature and threshold on the validation split, and put the temperature into the network.

    Args:
        network: The trained network, whose last layer with weights gives the logits; changed in place.
        validation: The validation faces.

    Returns:
        Temperature, threshold, and what the calibrated network reaches on validation: loss, accuracy at the threshold,
        faces, majority share.
    """
    parts = [(network.predict_on_batch(b.pixels), b.labels) for b in validation.batches(REFERENCE_CANDIDATES)]
    raw, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    temperature = fit_temperature(raw, truth)
    # Logits are linear in the last layer's kernel and bias, so that dividing these divides the logits.
    head = next(layer for layer in reversed(network.layers) if layer.weights)
    head.set_weights([weight / temperature for weight in head.get_weights()])
    probabilities = apply_temperature(raw, temperature)
    threshold = choose_threshold(probabilities, truth)
    measured = {
        "loss": float(face_log_losses(probabilities, truth).mean()),
        "accuracy": float((decide(probabilities, threshold) == truth).mean()),
        "faces": validation.rows,
        "majority": max(validation.faces) / validation.rows,
    }
    return temperature, threshold, measured
