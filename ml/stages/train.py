"""Stage train: fits the run's network to features and keeps the epoch with the lowest validation loss."""

from __future__ import annotations

import logging
import os
import statistics
from typing import Any

import keras
import tensorflow as tf

from ml import storage
from ml.errors import DataError
from ml.features.feed import Feed
from ml.features.reader import FeatureReader
from ml.guards import check_label_order
from ml.model.description import Description
from ml.model.write import write_model
from ml.networks.table import NETWORKS, build_network
from ml.report.figures import training as training_figures
from ml.report.subject import subject_of
from ml.tracking import training_run
from ml.training.calibrate import REFERENCE_CANDIDATES, calibrate
from ml.training.checkpoints import Checkpoints, best_epoch
from ml.training.fit import Fit
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)
COPIES = (
    8  # of the weights: network, two moments, average; twice, since the last checkpoint goes after the next is there
)


def train(context: Context) -> Result:
    """Train the run's network on its features and write the model into the attempt.

    Writes what `ml.model.write.write_model` does, `history.json` and `curves.png`. The test split is not read. A killed
    training goes on from its last checkpoint, when the same run tries again.

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
    with training_run.track(context) as tracked, strategy.scope():
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


def _devices(gpus: list[Any]) -> str:
    if not gpus:
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"
    return ", ".join(str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus)


def _write(
    context: Context,
    network: keras.Model,
    history: list[dict[str, Any]],
    validation: FeatureReader,
    tracked: training_run.TrackedRun,
) -> Result:
    """Write the attempt's files and give its metrics."""
    features, config = context.inputs["featurize"], context.config
    best = history[best_epoch(history) - 1]
    temperature, threshold, measured = calibrate(network, validation)
    description = Description(
        labels=validation.labels,
        meaning=subject_of(features.metrics["chip_class"], config.labels).meaning,
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
    curves = training_figures.training_curves(history, best["epoch"])
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
