"""Random changes to training chips, which show the network more poses, framings and lighting than the data has."""

from __future__ import annotations

import math

import tensorflow as tf

# The ranges keep every chip a face that an annotator would label the same.
ROTATION_DEGREES = 20.0
SHIFT = 0.1  # of the chip's side
SHEAR = 0.1  # horizontal pixels per row
# Logarithms of the scale of both axes: some annotators draw face boxes tight, others loose. The range is larger inward,
# where a chip loses hair and chin, than outward.
ZOOM = (-0.36, 0.2)
ASPECT = 0.1  # logarithm of the scale of one axis relative to the other
CONTRAST = 0.35
BRIGHTNESS = 0.15  # of 255
SATURATION = 0.4
TINT = 0.08  # of each channel
GRAY = 0.1  # share of the chips that lose their colors
BLURRED = 0.25  # share of the chips that are blurred
BLUR = 0.03  # largest standard deviation of the blur, of the chip's side
NOISY = 0.3  # share of the chips that get noise
# Largest standard deviation of the noise, of 255. That of a camera becomes so large where a dark chip is normalized.
NOISE = 25.0
ERASED = 0.3  # share of the chips that lose a rectangle (Zhong et al. 2017, arXiv:1708.04896)
ERASED_SIDE = (0.1, 0.45)  # of the chip's side
MIXING_ALPHA = 0.4  # of the Beta distribution of mixup (Zhang et al. 2017, arXiv:1710.09412)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(pixels: tf.Tensor, seed: tf.Tensor, side: int | None = None) -> tf.Tensor:
    """Flip, rotate, shift, shear, zoom, relight and recolor each chip of a batch at random, and spoil some.

    A chip is spoiled by blur, by noise, by an erased part, or by several of them.

    The geometric changes of a chip are composed into one affine map, so the chip is resampled only once.

    Args:
        pixels: uint8, shape (n, side, side, 3), 0..255.
        seed: Two integers, which determine all changes.
        side: Width and height of the result. Defaults to those of the chips.

    Returns:
        uint8, shape (n, side, side, 3). The border pixels of a chip repeat beyond its border.
    """
    count, given = tf.shape(pixels)[0], pixels.shape[1]
    side = side or given
    seeds = tf.random.split(seed, 2)
    drawn = tf.random.stateless_uniform((25, count), seeds[0], -1.0, 1.0)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=_affine(drawn[:7], given, side),
        output_shape=(side, side),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    lit = _relight(_blur(moved, drawn[23:]), drawn[7:13])
    noisy = _add_noise(lit, drawn[13:15], seeds[1])
    erased = _erase(noisy, drawn[15:23])
    return tf.ensure_shape(tf.cast(tf.round(tf.clip_by_value(erased, 0.0, 255.0)), tf.uint8), (None, side, side, 3))


def mix(
    pixels: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor, share: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Blend a share of the chips, labels and weights of a batch, each with another of the batch (mixup).

    Args:
        pixels: uint8, shape (n, side, side, 3).
        labels: float32, shape (n, labels): the share of each label.
        weights: float32, shape (n,).
        seed: Two integers.
        share: The share of chips to blend, in [0, 1].

    Returns:
        The same types and shapes. At least half of each result comes from the chip itself.
    """
    count = tf.shape(pixels)[0]
    seeds = tf.random.split(seed, 2)
    one, other = tf.unstack(tf.random.stateless_gamma((2, count), seeds[0], MIXING_ALPHA))
    kept = one / tf.maximum(one + other, 1e-9)  # Beta(alpha, alpha)
    chosen = tf.random.stateless_uniform((count,), seeds[1]) < share
    kept = tf.where(chosen, tf.maximum(kept, 1 - kept), 1.0)

    def blend(values: tf.Tensor) -> tf.Tensor:
        own = tf.reshape(kept, [-1] + [1] * (values.shape.rank - 1))
        return values * own + values[::-1] * (1 - own)

    blended = tf.cast(tf.round(blend(tf.cast(pixels, tf.float32))), tf.uint8)
    return blended, blend(labels), blend(weights)


def _affine(drawn: tf.Tensor, given: int, side: int) -> tf.Tensor:
    """Return the maps from points of the result to points of the chip, as (n, 8) rows a0 a1 a2 b0 b1 b2 0 0.

    The point p = (x, y) maps to rotate(shear(zoom(flip(p - center)))) + center of the chip + shift.
    """
    flip = tf.where(drawn[0] < 0, -1.0, 1.0)
    angle = drawn[1] * (ROTATION_DEGREES * math.pi / 180)
    shift_x, shift_y = drawn[2] * SHIFT * given, drawn[3] * SHIFT * given
    shear = drawn[4] * SHEAR
    inward, outward = ZOOM
    zoom = tf.exp(inward + (outward - inward) * (drawn[5] + 1) / 2) * (given / side)
    aspect = tf.exp(ASPECT * drawn[6])
    zoom_x, zoom_y = zoom * aspect * flip, zoom / aspect
    sine, cosine = tf.sin(angle), tf.cos(angle)
    a0, a1 = cosine * zoom_x, (cosine * shear - sine) * zoom_y
    b0, b1 = sine * zoom_x, (sine * shear + cosine) * zoom_y
    center = (side - 1) / 2
    a2 = (given - 1) / 2 - center * (a0 + a1) + shift_x
    b2 = (given - 1) / 2 - center * (b0 + b1) + shift_y
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def _blur(pixels: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Blur some chips by a Gaussian, as two matrices a chip: one for its rows, the same for its columns."""
    side = pixels.shape[1]
    deviation = tf.where(drawn[0] < 2 * BLURRED - 1, BLUR * side * (drawn[1] + 1) / 2, 0.0)
    distance = tf.range(side, dtype=tf.float32)[:, None] - tf.range(side, dtype=tf.float32)
    # A deviation of zero would divide by zero; at a hundredth of a pixel the matrix is that of no change.
    weights = tf.nn.softmax(-(distance**2) / (2 * tf.maximum(deviation, 0.01)[:, None, None] ** 2))
    return tf.einsum("nab,nbcd,nec->naed", weights, pixels, weights)


def _relight(pixels: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Change saturation, tint, contrast and brightness; some chips lose their colors.

    All changes are linear in a pixel's red, green and blue, so one 3 x 3 matrix and one offset per chip apply them.
    """
    saturation = tf.where(drawn[0] < 2 * GRAY - 1, 0.0, 1 + SATURATION * drawn[1])[:, None, None]
    # Move each channel toward the luma.
    colors = saturation * tf.eye(3) + (1 - saturation) * tf.constant(LUMA)[:, None]
    # Red against blue, and green against both.
    tint = 1 + TINT * tf.stack([drawn[2], drawn[3], -drawn[2]], axis=1)
    gain, offset = 1 + CONTRAST * drawn[4], 255 * BRIGHTNESS * drawn[5]
    matrix = colors * tint[:, None, :] * gain[:, None, None]
    shift = 127.5 * (1 - gain) + offset
    shape = tf.shape(pixels)
    mixed = tf.reshape(pixels, (shape[0], -1, 3)) @ matrix
    return tf.reshape(mixed, shape) + shift[:, None, None, None]


def _add_noise(pixels: tf.Tensor, drawn: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add normally distributed noise, independent in each pixel and channel, to some chips."""
    deviation = tf.where(drawn[0] < 2 * NOISY - 1, NOISE * (drawn[1] + 1) / 2, 0.0)
    return pixels + deviation[:, None, None, None] * tf.random.stateless_normal(tf.shape(pixels), seed)


def _erase(pixels: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Fill a rectangle of some chips with a random color."""
    side = pixels.shape[1]
    share = (drawn + 1) / 2
    low, high = ERASED_SIDE
    place = tf.range(side, dtype=tf.float32)[None] + 0.5
    rows = tf.abs(place - share[0][:, None] * side) < (low + (high - low) * share[1][:, None]) * side / 2
    columns = tf.abs(place - share[2][:, None] * side) < (low + (high - low) * share[3][:, None]) * side / 2
    erased = rows[:, :, None] & columns[:, None, :] & (share[4] < ERASED)[:, None, None]
    return tf.where(erased[..., None], 255 * tf.transpose(share[5:])[:, None, None, :], pixels)
