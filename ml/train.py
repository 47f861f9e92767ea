"""Stage train: fits the run's network to features and keeps the epoch with the lowest validation loss."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from ml import plots, storage
from ml.config import FACE, RunConfig
from ml.data import FeatureReader, Feed
from ml.errors import ConfigurationError, DataError, ResourceError
from ml.guards import check_label_order
from ml.model import OTHER_LABELS, PERCEIVED_GENDER, Description, load_network, network_bytes, write_model
from ml.networks import NETWORKS
from ml.stages import Context, Manifest, Result

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.05  # of all steps: batch statistics and Adam's moments are still guesses in the first ones
LAST_RATE = 0.01  # of the peak learning rate, reached by a half cosine
LOG_SECONDS = 10.0
REFERENCE_CANDIDATES = 256


def train(context: Context) -> Result:
    """Train the run's network on its features and write the model into the attempt.

    Writes `model.keras`, `model.json`, `reference.json` (see `ml.model`), `history.json` and `curves.png`. The test
    split is not read.

    Raises:
        DataError: There are too few faces, or the features are not what their manifest states.
        GuardError: Label order, pixels or channel sums are not what was prepared.
        ConfigurationError: The loss became no number.
        ResourceError: A batch does not fit into memory.
    """
    config, features = context.config, context.inputs["featurize"]
    check_label_order(config.label_order, features.metrics["labels"], f"The features {features.uri}")
    check_faces(features, config.min_faces)
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()  # costs nothing that could be measured on two CPU cores
    training = Feed(
        FeatureReader(features, "train", seed=config.seed), config.batch_size, config.balance, config.augment
    )
    validation = Feed(FeatureReader(features, "validation"), config.batch_size, config.balance)
    for _ in validation.reader.checked_batches(config.batch_size):
        pass  # the whole pass is checked before any time is spent on learning

    gpus = tf.config.list_physical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    checkpoints = Checkpoints(context.checkpoints)
    with strategy.scope():
        network, history = checkpoints.resume() or (_build(config, training), [])
        log.info(
            "training %s (%s parameters) on %s: %s faces of %s, %s for validation; checkpoints take up to %d MB",
            *(config.network, f"{network.count_params():,}", _devices(gpus), f"{training.reader.rows:,}"),
            *(dict(zip(training.reader.labels, training.reader.faces, strict=True)), f"{validation.reader.rows:,}"),
            network.count_params() * 4 * 3 * 2 >> 20,  # float32 weights and Adam's two moments, last and best epoch
        )
        for epoch in range(len(history), config.epochs):
            history.append(_fit_epoch(network, training, validation, epoch, config.epochs))
            checkpoints.save(network, history)
        best = best_epoch(history)
        kept = checkpoints.load(best)
    return _write(context, kept, history, validation.reader)


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


def best_epoch(history: list[dict[str, Any]]) -> int:
    """The epoch, from 1, with the lowest validation loss; the earliest of equals."""
    return int(min(history, key=lambda row: row["val_loss"])["epoch"])


def _build(config: RunConfig, training: Feed) -> keras.Model:
    network = NETWORKS[config.network](training.reader.chip_size, len(training.reader.labels))
    steps = config.epochs * training.steps
    warmup = max(1, int(WARMUP_SHARE * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 10,
        decay_steps=max(1, steps - warmup),
        alpha=LAST_RATE,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    network.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],  # of faces, not of weights: a share that can be counted
        jit_compile=False,  # XLA is slower on CPUs
    )
    return network


def _fit_epoch(network: keras.Model, training: Feed, validation: Feed, epoch: int, epochs: int) -> dict[str, Any]:
    """Train one epoch, counted from 0, and measure on validation; returns its row of the history."""
    started = time.monotonic()
    _seed_dropout(network, training.reader.seed, epoch)
    progress = Progress(f"epoch {epoch + 1}/{epochs}", training)
    try:
        with training.errors(), validation.errors():
            # Its own call for each epoch, so that a resumed training takes the very same way as one not killed.
            dataset = training.dataset(epoch)
            logs = network.fit(dataset, shuffle=False, verbose=0, callbacks=[progress]).history
            measured = network.evaluate(validation.dataset(), verbose=0, return_dict=True)
    except tf.errors.ResourceExhaustedError as error:
        raise ResourceError(
            "A training step does not fit into memory.", "Lower batch_size or chip_size, or give the job more memory."
        ) from error
    row = {
        "epoch": epoch + 1,
        "loss": logs["loss"][0],
        "accuracy": logs["accuracy"][0],
        "val_loss": measured["loss"],
        "val_accuracy": measured["accuracy"],
        "seconds": round(time.monotonic() - started, 2),
        "images_per_second": round(progress.images_per_second, 1),
    }
    _check_loss(row["val_loss"], f"epoch {epoch + 1}, validation")
    log.info(
        "%s: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; %.1f s, %.0f images/s",
        *(progress.name, row["loss"], row["accuracy"], row["val_loss"], row["val_accuracy"]),
        *(row["seconds"], row["images_per_second"]),
    )
    return row


def _seed_dropout(network: keras.Model, seed: int, epoch: int) -> None:
    # Keras does not save the state of random layers: a training that was resumed would draw other numbers.
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    for number, layer in enumerate(layers):
        layer.seed_generator.state.assign([seed + number, epoch << 20])


def _check_loss(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise ConfigurationError(
            f"The loss became {loss} ({where}): training ran away.", "Lower learning_rate, to a tenth for instance."
        )


def _devices(gpus: list[Any]) -> str:
    if not gpus:
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"
    return ", ".join(str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus)


@dataclass
class Progress(keras.callbacks.Callback):
    """Logs a line every ten seconds within an epoch, and stops a training whose loss is no number.

    Args:
        name: The epoch as it is called in the log.
        feed: What is trained on.
    """

    name: str
    feed: Feed
    images_per_second: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self._started = self._first = self._logged = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Take the time after a step."""
        _check_loss((logs or {})["loss"], f"{self.name}, step {batch + 1}")
        now = time.monotonic()
        rows, steps = self.feed.reader.rows, self.feed.steps
        if batch == 0:
            self._first = now  # the first step of all traces the network, for many seconds
            self.images_per_second = rows / steps / max(now - self._started, 1e-9)
            return
        self.images_per_second = rows / steps * batch / max(now - self._first, 1e-9)
        if now - self._logged >= LOG_SECONDS and batch + 1 < steps:
            self._logged = now
            left = rows * (1 - (batch + 1) / steps) / self.images_per_second
            log.info(
                "%s: step %d of %d, loss %.4f, %.0f images/s, %.0f s left of this epoch",
                *(self.name, batch + 1, steps, (logs or {})["loss"], self.images_per_second, left),
            )


class Checkpoints:
    """The state after the last whole epoch, and the best epoch's network, in a folder that outlives a killed attempt.

    A network is written under its epoch's name, then `state.json`, which names what belongs together and its digests:
    whenever the process is killed, the state that is found is whole.

    Args:
        uri: The folder; only a retry of the same run reads it.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._digests: dict[str, str] = {}

    def save(self, network: keras.Model, history: list[dict[str, Any]]) -> None:
        """Keep the network, with its optimiser, as of the last epoch of `history`."""
        last, best = _file(len(history)), _file(best_epoch(history))
        content = network_bytes(network)
        storage.write_bytes(storage.join(self._uri, last), content)
        self._digests[last] = hashlib.sha256(content).hexdigest()
        self._digests = {name: digest for name, digest in self._digests.items() if name in (last, best)}
        state = {"history": history, "files": self._digests}
        storage.write_json(storage.join(self._uri, "state.json"), {"state": state, "sha256": _digest(state)})
        for name in storage.list_files(self._uri):
            if name != "state.json" and name not in self._digests:
                storage.remove(storage.join(self._uri, name))

    def resume(self) -> tuple[keras.Model, list[dict[str, Any]]] | None:
        """The network and history to go on from, or None where training starts afresh."""
        uri = storage.join(self._uri, "state.json")
        if not storage.exists(uri):
            return None
        try:
            content = storage.read_json(uri)
            state = content["state"]
            whole = content["sha256"] == _digest(state) and all(
                hashlib.sha256(storage.read_bytes(storage.join(self._uri, name))).hexdigest() == digest
                for name, digest in state["files"].items()
            )
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            whole = False
        if not whole:
            log.warning("checkpoints at %s are damaged: training starts afresh", self._uri)
            return None
        self._digests = state["files"]
        history: list[dict[str, Any]] = state["history"]
        log.info("resuming after epoch %d, from %s", len(history), self._uri)
        return load_network(storage.join(self._uri, _file(len(history))), compiled=True), history

    def load(self, epoch: int) -> keras.Model:
        """The network of the last or of the best epoch, without its optimiser."""
        return load_network(storage.join(self._uri, _file(epoch)))


def _file(epoch: int) -> str:
    return f"epoch-{epoch:04d}.keras"


def _digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _write(context: Context, network: keras.Model, history: list[dict[str, Any]], validation: FeatureReader) -> Result:
    """Write the attempt's files and give its metrics."""
    features, config = context.inputs["featurize"], context.config
    best = history[best_epoch(history) - 1]
    measured = {
        "loss": best["val_loss"],
        "accuracy": best["val_accuracy"],
        "faces": validation.rows,
        "majority": max(validation.faces) / validation.rows,
    }
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
    )
    write_model(context.uri, network, description, next(validation.batches(REFERENCE_CANDIDATES)).pixels)
    storage.write_json(context.path("history.json"), history)
    storage.write_bytes(context.path("curves.png"), plots.training_curves(history, best["epoch"]))
    log.info(
        "kept epoch %d of %d: validation loss %.4f, accuracy %.4f on %d faces (the larger label alone: %.4f)",
        *(best["epoch"], len(history), best["val_loss"], best["val_accuracy"], validation.rows, measured["majority"]),
    )
    return Result(
        {
            "labels": description.labels,
            "network": config.network,
            "parameters": description.parameters,
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "validation": measured,
            "images_per_second": statistics.median(row["images_per_second"] for row in history),
            "seconds": round(sum(row["seconds"] for row in history), 2),
            "history": context.path("history.json"),
            "curves": context.path("curves.png"),
            "model": context.path("model.keras"),
        }
    )
