"""The event files hold the history as TensorBoard reads it."""

import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event

from ml.training.tensorboard import event_files
from support.training import make_epoch


def values_of(content: bytes, tmp_path) -> dict[tuple[str, int], float]:
    """Read an event file: the value of each tag and step, all of them scalars to TensorBoard."""
    file = tmp_path / "events"
    file.write_bytes(content)
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_training_and_validation_are_two_runs_with_the_same_tags(tmp_path):
    history = [make_epoch(1, loss=0.75, val_loss=0.5), make_epoch(2, loss=0.5, val_loss=0.25)]
    files = event_files(history)
    assert [path.split("/")[0] for path in files] == ["train", "validation"]
    train, validation = (values_of(content, tmp_path) for content in files.values())
    assert {key: train[key] for key in (("epoch_loss", 1), ("epoch_loss", 2))} == {
        ("epoch_loss", 1): 0.75,
        ("epoch_loss", 2): 0.5,
    }
    assert validation["epoch_loss", 2] == 0.25
    assert {tag for tag, _ in train} - {tag for tag, _ in validation} == {"images_per_second"}
