"""Data sets for Keras, made from the batches of a reader."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.features.reader import FeatureReader

if TYPE_CHECKING:
    import tensorflow as tf


class Feed:
    """The faces of a split as data sets for Keras; errors in reading keep their types.

    Args:
        reader: The split's reader.
        batch_size: Maximum number of faces in a batch.
        balance: Weight the faces so that all labels of the split have the same total; by default each face weighs 1.
        augment: Change the chips at random, by the reader's seed.
        mixing: Share of the faces to blend with another of their batch, see `ml.features.augmentation.mix`.
        smoothing: Share of each label's weight to spread over all labels (Szegedy et al. 2015, arXiv:1512.00567).
    """

    def __init__(
        self,
        reader: FeatureReader,
        batch_size: int,
        balance: bool = False,
        augment: bool = False,
        mixing: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        self.reader = reader
        self.steps = reader.steps(batch_size)
        self._batch_size = batch_size
        self._augment, self._mixing = augment, mixing
        faces = np.array(reader.faces)
        self._weights = reader.rows / (len(faces) * faces) if balance else np.ones(len(faces))
        self._targets = np.eye(len(faces)) * (1 - smoothing) + smoothing / len(faces)
        self._error: Exception | None = None

    def faces(self, steps: int) -> int:
        """Return the number of faces in the first `steps` batches of a pass."""
        return self.reader.rows * steps // self.steps

    def dataset(self, epoch: int | None = None, first_step: int = 0, side: int | None = None) -> tf.data.Dataset:
        """Return one pass as a data set of batches: uint8 chips, float32 label shares, float32 weights.

        Args:
            epoch: The epoch, which determines the shuffled order and the augmentation; by default the stored order.
            first_step: Number of batches to skip, which an interrupted training has already seen.
            side: Width and height of augmented chips in pixels; by default as stored.
        """
        import tensorflow as tf

        from ml.features.augmentation import augment, mix

        stored, labels = self.reader.chip_size, len(self.reader.labels)
        signature = (
            tf.TensorSpec((None, stored, stored, 3), tf.uint8),
            tf.TensorSpec((None, labels), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((2,), tf.int64),
        )

        def change(
            pixels: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, seed: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            of_changes, of_mixing = tf.unstack(tf.random.split(seed, 2))
            if self._augment:
                pixels = augment(pixels, of_changes, side)
            if self._mixing:
                pixels, label, weight = mix(pixels, label, weight, of_mixing, self._mixing)
            return pixels, label, weight

        generator = functools.partial(self._generate, epoch, first_step)
        dataset = tf.data.Dataset.from_generator(generator, output_signature=signature).map(change)
        options = tf.data.Options()
        # There is nothing to tune, and destroying an iterator waits for the tuner to wake up. Its sleep starts at 10 ms
        # and doubles each time, so many passes ended only after 20.5, 41 or 82 seconds.
        options.autotune.enabled = False
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(self.steps - first_step)).prefetch(2)
        return dataset.with_options(options)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise the reader's own error instead of TensorFlow's, which has only its text."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError:
            if self._error is None:
                raise
            raise self._error from None

    def _generate(self, epoch: int | None, first_step: int) -> Iterator[tuple[NDArray[Any], ...]]:
        targets, weights = self._targets.astype(np.float32), self._weights.astype(np.float32)
        try:
            # Skipped steps are read too, because the checks cover the whole pass.
            for step, batch in enumerate(self.reader.checked_batches(self._batch_size, epoch)):
                if step >= first_step:
                    seed = np.array([self.reader.seed, (epoch or 0) * self.steps + step], np.int64)
                    yield batch.pixels, targets[batch.labels], weights[batch.labels], seed
        except Exception as error:
            self._error = error
            raise
