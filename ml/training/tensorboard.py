"""The history of a training as TensorBoard's event files, which need no package of TensorBoard's to be written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from ml.model.record import EpochRow

# Each is a run in TensorBoard, named as by `keras.callbacks.TensorBoard`, so that their curves are in one chart.
RUNS = {
    "train": {"epoch_loss": "loss", "epoch_accuracy": "accuracy", "images_per_second": "images_per_second"},
    "validation": {"epoch_loss": "val_loss", "epoch_accuracy": "val_accuracy"},
}

EVENTS = "events.out.tfevents"  # without the name of the machine, which TensorFlow adds


def event_files(history: Sequence[EpochRow]) -> dict[str, bytes]:
    """Return the event files of a training by their paths: a run for training and one for validation.

    They are written from the whole history at the end, not by a callback, so that a training that was killed and
    resumed has one curve too.
    """
    files = {}
    for run, fields in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            writer = tf.summary.create_file_writer(folder)
            with writer.as_default():
                for row in history:
                    for tag, field in fields.items():
                        tf.summary.write(tag, tf.constant(getattr(row, field)), row.epoch, _scalar())
            writer.close()
            (file,) = Path(folder).iterdir()
            files[f"{run}/{EVENTS}"] = file.read_bytes()
    return files


def _scalar() -> tf.compat.v1.SummaryMetadata:
    """Return the metadata that makes TensorBoard show a value as a scalar, as its own `tf.summary.scalar` does."""
    metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
    metadata.data_class = 1  # DATA_CLASS_SCALAR
    return metadata
