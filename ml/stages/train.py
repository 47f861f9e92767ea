"""Stage train: trains the run's network on features and keeps the epoch with the lowest validation loss."""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Collection, Sequence

import keras
import polars as pl
import tensorflow as tf

from ml import disk, storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.feed import Feed
from ml.features.overlap import check_overlap
from ml.features.reader import FeatureReader, split_table
from ml.features.record import FeaturesRecord
from ml.guards import check_label_order
from ml.model.description import Description
from ml.model.keras_file import MODEL
from ml.model.novelty import NOVELTY
from ml.model.record import EpochRow, Exclusion, MlflowRun, TrainingProgress, TrainingRecord
from ml.model.write import write_model
from ml.networks.table import build_network, find_network
from ml.report.figures import training as training_figures
from ml.report.subject import subject_of
from ml.stages.novelty import fit_novelty
from ml.tracking import training_run
from ml.training.calibrate import REFERENCE_CANDIDATES, Calibrated, calibrate
from ml.training.checkpoints import Checkpoints, best_epoch
from ml.training.exclusion import count_exclusion
from ml.training.fit import Fit
from ml.training.progress import ProgressFile, Report, terminal_progress
from ml.training.tensorboard import event_files
from ml.workflow import layout
from ml.workflow.exclusions import EXCLUDED, read_excluded, write_excluded
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from ml.workflow.tables import scan_table

log = logging.getLogger(__name__)
# Copies of the weights: network, two moments and average; twice, because a checkpoint is removed after the next exists.
COPIES = 8


def train(context: Context) -> Result:
    """Train the run's network on its features and write the model into the attempt.

    The stage writes the files of `ml.model.write.write_model`, the range of the training faces as `novelty.npz`,
    `history.json`, `curves.svg`, `tensorboard/` and, if the run excludes faces, their ids as `excluded.csv`. It learns
    nothing from the test split. A killed training resumes from its last checkpoint when the same run tries again. While
    it trains, `progress.json` in the run's folder says how far it is.

    Raises:
        DataError: There are too few faces, or the features do not match their manifest.
        GuardError: Label order, pixels or channel sums differ from what was prepared.
        ConfigurationError: The loss became NaN, or the backbone's weights do not match the network.
        ResourceError: A batch does not fit into memory, or the checkpoints do not fit onto the disk.
    """
    config, features = context.config, context.inputs["featurize"]
    stated = features.record(FeaturesRecord)
    check_label_order(config.label_order, stated.labels, f"The features {features.uri}")
    check_faces(stated, config.min_faces)
    check_overlap({split: features.table(split_table(split)) for split in stated.faces})
    excluded = read_excluded(config.exclude_faces) if config.exclude_faces else frozenset()
    # On CPUs this suffices to reproduce a model. TensorFlow's op determinism would disable prefetching and cost a third
    # of the speed.
    keras.utils.set_random_seed(config.seed)
    training, validation = make_feeds(features, config, excluded)
    exclusion = _exclude(context, training.reader, excluded) if config.exclude_faces else None
    gpus = tf.config.list_physical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    progress = layout.progress_uri(layout.run_uri(context.run.root, context.run.slug))
    with training_run.track(context) as tracked, strategy.scope():
        for _ in validation.reader.checked_batches(config.batch_size):
            pass  # check the whole split before spending time on training
        with terminal_progress() as shown:
            reports = (ProgressFile(progress), shown)
            network, history = _fit(context, training, validation, tracked.log_history, reports, _devices(gpus))
        result = _write(context, network, history, validation.reader, tracked, exclusion, excluded)
    storage.remove(progress)  # a training that fails leaves it, so that one sees how far it came
    return result


def make_feeds(
    features: Manifest, config: TrainingConfig, excluded: Collection[str] = frozenset()
) -> tuple[Feed, Feed]:
    """Make the feeds of the train split, which the network learns from, and of the validation split.

    Args:
        features: The features attempt.
        config: The run's configuration.
        excluded: Ids of faces to leave out of the train split.
    """
    training = Feed(
        FeatureReader(features, "train", seed=config.seed, excluded=excluded),
        config.batch_size,
        config.balance,
        config.augment,
        config.mixing,
        smoothing=config.label_smoothing,
    )
    return training, Feed(FeatureReader(features, "validation"), config.batch_size, config.balance)


def _exclude(context: Context, training: FeatureReader, excluded: Collection[str]) -> Exclusion:
    """Count and record the faces that the training leaves out.

    Raises:
        DataError: Too few faces are left.
    """
    others = [FeatureReader(context.inputs["featurize"], split) for split in ("validation", "test")]
    exclusion = count_exclusion(training, others, excluded)
    left = dict(zip(training.labels, training.faces, strict=True))
    stated = training.stated.model_copy(update={"faces": {**training.stated.faces, "train": left}})
    check_faces(stated, context.config.min_faces)
    # A copy, because the list may change after this run, and later stages must know what was left out.
    write_excluded(context.path(EXCLUDED), excluded)
    return exclusion


def _fit(
    context: Context,
    training: Feed,
    validation: Feed,
    on_epoch: Callable[[list[EpochRow]], None],
    reports: Sequence[Report],
    devices: str,
) -> tuple[keras.Model, list[EpochRow]]:
    """Build the run's network and train it; return it with the best epoch's weights, and the history."""
    config, reader = context.config, training.reader
    network = build_network(config.network, reader.chip_size, len(reader.labels), config.backbone_weights)
    if grows := find_network(config.network).any_size and config.augment:
        network = build_network(config.network, None, len(reader.labels))
    size = network.count_params() * 4
    disk.check_space(context.checkpoints, size * COPIES, f"checkpoints of {network.count_params():,} parameters")
    log.info(
        "training %s (%s parameters) on %s: %s faces of %s, %s for validation",
        *(config.network, f"{network.count_params():,}", devices, f"{reader.rows:,}"),
        *(dict(zip(reader.labels, reader.faces, strict=True)), f"{validation.reader.rows:,}"),
    )
    checkpoints = Checkpoints(context.checkpoints)

    def report(progress: TrainingProgress) -> None:
        for each in reports:
            each(progress)

    history = Fit(config, network, training, validation, checkpoints, grows, on_epoch, report).run()
    if grows:
        fixed = build_network(config.network, reader.chip_size, len(reader.labels))
        fixed.set_weights(network.get_weights())
        network = fixed
    return network, history


def check_faces(stated: FeaturesRecord, min_faces: int) -> None:
    """Check that there are enough faces for training and evaluation.

    Raises:
        DataError: There are too few; the message states how many faces of each label each split has and needs.
    """
    labels, faces = stated.labels, stated.faces
    needed = {"train": min_faces, "validation": 1, "test": 1}
    if all(faces[split][label] >= least for split, least in needed.items() for label in labels):
        return
    counts = "; ".join(
        f"{split} {', '.join(f'{faces[split][label]} {label}' for label in labels)} (needed: {least} each)"
        for split, least in needed.items()
    )
    raise DataError(
        f"Too few labeled faces to train on: {counts}.",
        "Use a larger release, lower min_face_size or min_faces, exclude fewer faces, or choose split digest, which "
        "divides all images.",
    )


def _devices(gpus: Sequence[tf.config.PhysicalDevice]) -> str:
    if not gpus:
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"
    return ", ".join(str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus)


def _write(
    context: Context,
    network: keras.Model,
    history: list[EpochRow],
    validation: FeatureReader,
    tracked: training_run.TrackedRun,
    exclusion: Exclusion | None,
    excluded: Collection[str],
) -> Result:
    """Calibrate the network, write the attempt's files, and return the record."""
    found = calibrate(network, validation)
    scores, temperature, threshold = found.scores, found.temperature.chosen, found.threshold.chosen
    description = _describe(context, network, best_epoch(history), validation, found)
    model = write_model(context.uri, network, description, next(validation.batches(REFERENCE_CANDIDATES)).pixels)
    novelty = fit_novelty(model, context.inputs["featurize"], excluded)
    storage.write_bytes(context.path(NOVELTY), novelty.content())
    storage.write_json(context.path("history.json"), [row.json_values() for row in history])
    for path, events in event_files(history).items():
        storage.write_bytes(context.path("tensorboard", *path.split("/")), events)
    curves = training_figures.training_curves(history, description.best_epoch)
    storage.write_bytes(context.path("curves.svg"), curves)
    tracked.log_file("curves.svg", curves)
    tracked.log_model(network, description)
    log.info(
        "kept epoch %d of %d; temperature %.3f (fitted %.3f), threshold %.3f (fitted %.3f); validation loss %.4f, "
        "accuracy %.4f on %d faces (always predicting the larger label: %.4f)",
        *(description.best_epoch, len(history), temperature, found.temperature.fitted, threshold),
        *(found.threshold.fitted, scores.loss, scores.accuracy),
        *(validation.rows, scores.majority),
    )
    mlflow = tracked.finish(
        {"best_epoch": description.best_epoch, "temperature": temperature, "validation": scores.json_values()}
    )
    choices = {"temperature_choice": found.temperature, "threshold_choice": found.threshold}
    record = _record(context, description, history, mlflow).model_copy(update={"exclusion": exclusion, **choices})
    faces = sum(context.inputs["featurize"].record(FeaturesRecord).faces["train"].values())
    left_out = exclusion.faces if exclusion else 0
    ledger = {"trained on": faces - left_out, "excluded by exclude_faces": left_out}
    return Result(record, ledger if exclusion else {})


def _describe(
    context: Context,
    network: keras.Model,
    epoch: int,
    validation: FeatureReader,
    found: Calibrated,
) -> Description:
    spec = validation.stated.spec
    return Description(
        labels=list(spec.labels),
        meaning=subject_of(spec.chip_class, context.config.labels).meaning,
        chip_size=spec.chip_size,
        margin=spec.margin,
        chip_class=spec.chip_class,
        network=context.config.network,
        parameters=network.count_params(),
        best_epoch=epoch,
        validation=found.scores,
        features=context.inputs["featurize"].uri,
        temperature=found.temperature.chosen,
        threshold=found.threshold.chosen,
        risk=found.risk,
        box_aspect=_median_aspect(context.inputs["featurize"]),
    )


def _median_aspect(features: Manifest) -> float:
    faces = scan_table(features, split_table("train"))
    return round(float(faces.select(pl.median("box_aspect")).collect().item()), 3)


def _record(context: Context, description: Description, history: list[EpochRow], mlflow: MlflowRun) -> TrainingRecord:
    return TrainingRecord(
        labels=description.labels,
        network=description.network,
        parameters=description.parameters,
        best_epoch=description.best_epoch,
        epochs=len(history),
        validation=description.validation,
        temperature=description.temperature,
        threshold=description.threshold,
        images_per_second=statistics.median(row.images_per_second for row in history),
        seconds=round(sum(row.seconds for row in history), 2),
        history=context.path("history.json"),
        curves=context.path("curves.svg"),
        model=context.path(MODEL),
        mlflow=mlflow,
    )
