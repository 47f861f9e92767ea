"""Random faults of a photograph in training chips: poor light, noise, few pixels and JPEG, as other sources have them.

Each fault strikes its own share of the chips. The faults come in the order in which a photograph gets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

# benchmarks/README.md, "Transfer of source", compares these ranges with weaker and stronger ones.
EXPOSED = 0.25  # share of the chips whose light changes
GAIN = 0.2  # the darkest chip's light, as a share of what it was
GAMMA = 0.5  # logarithm of the exponent, either way
NOISY = 0.25  # share of the chips that get noise
NOISE = 16.0  # largest standard deviation, of 255
COARSE = 0.3  # share of the chips that lose resolution and are compressed
COARSEST = 0.33  # of the chip's side: a face of 32 pixels in a chip of 96
QUALITY = (20, 95)  # of JPEG


def degrade(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Expose, add noise to, and reduce and compress some chips of a batch at random.

    Args:
        pixels: float32, shape (n, side, side, 3), about 0..255.
        seed: Two integers, which determine all changes.

    Returns:
        The same type and shape, 0..255.
    """
    changes: tuple[tuple[float, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]], ...] = (
        (EXPOSED, _expose),
        (NOISY, _add_noise),
        (COARSE, _coarsen),
    )
    pixels = tf.clip_by_value(pixels, 0.0, 255.0)
    for one, (share, change) in zip(tf.unstack(tf.random.split(seed, len(changes))), changes, strict=True):
        pixels = _change_some(pixels, one, share, change)
    return pixels


def _change_some(
    pixels: tf.Tensor, seed: tf.Tensor, share: float, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Change a share of the chips, on average; the work is only done for these."""
    of_choice, of_change = tf.unstack(tf.random.split(seed, 2))
    rows = tf.where(tf.random.stateless_uniform(tf.shape(pixels)[:1], of_choice) < share)

    def changed() -> tf.Tensor:
        some = change(tf.gather(pixels, rows[:, 0]), of_change)
        return tf.tensor_scatter_nd_update(pixels, rows, tf.clip_by_value(some, 0.0, 255.0))

    return tf.cond(tf.size(rows) > 0, changed, lambda: pixels)


def _expose(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change the light of each chip by an exponent, and take some of it away."""
    drawn = tf.random.stateless_uniform((2, tf.shape(pixels)[0], 1, 1, 1), seed)
    exponent = tf.exp(GAMMA * (2 * drawn[0] - 1))
    return 255 * tf.exp(math.log(GAIN) * drawn[1]) * (pixels / 255) ** exponent


def _add_noise(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add normal noise, independent for each pixel and channel, of each chip's own strength."""
    of_strength, of_noise = tf.unstack(tf.random.split(seed, 2))
    strength = NOISE * tf.random.stateless_uniform((tf.shape(pixels)[0], 1, 1, 1), of_strength)
    return pixels + strength * tf.random.stateless_normal(tf.shape(pixels), of_noise)


def _coarsen(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Reduce the chips to one smaller size, compress each as JPEG there, and enlarge them again."""
    of_size, of_quality = tf.unstack(tf.random.split(seed, 2))
    side = pixels.shape[1]
    drawn = tf.exp(math.log(COARSEST) * tf.random.stateless_uniform((), of_size))
    reduced = tf.cast(tf.round(side * drawn), tf.int32)
    small = tf.image.resize(pixels, tf.stack([reduced, reduced]), antialias=True)
    small = tf.cast(tf.round(tf.clip_by_value(small, 0.0, 255.0)), tf.uint8)
    low, high = QUALITY
    qualities = tf.random.stateless_uniform(tf.shape(pixels)[:1], of_quality, low, high + 1, tf.int32)
    compressed = tf.map_fn(
        lambda each: tf.image.adjust_jpeg_quality(each[0], each[1]), (small, qualities), fn_output_signature=tf.uint8
    )
    compressed = tf.ensure_shape(compressed, (None, None, None, 3))
    return tf.image.resize(tf.cast(compressed, tf.float32), (side, side))
