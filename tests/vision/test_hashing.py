"""The hash of a photograph hardly changes when it is saved or scaled again, and differs from another one's."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from ml.features.duplicates import MAX_DISTANCE
from ml.vision import hashing, images
from ml.vision.hashing import perceptual_hash


def photograph(seed, width=400, height=300):
    """Blurred blotches, unlike those of another seed."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def distance(one, other):
    return ((int(one) ^ int(other)) & (1 << 64) - 1).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_photograph_saved_scaled_or_decoded_reduced_is_a_near_duplicate(seed):
    stored = saved(photograph(seed), 95)
    whole = perceptual_hash(images.decode(stored))
    others = [
        images.decode(saved(photograph(seed), 60)),
        images.decode(saved(photograph(seed, 800, 600), 90)),
        *(images.read_header(stored).decode(reduction) for reduction in images.REDUCTIONS),
    ]
    assert max(distance(whole, perceptual_hash(other)) for other in others) <= MAX_DISTANCE


def test_photographs_that_differ_are_far_apart():
    hashes = [perceptual_hash(photograph(seed)) for seed in range(30)]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 2 * MAX_DISTANCE


def library_hash(pixels):
    """The hash that the library ImageHash gives."""
    return np.array([int(str(imagehash.phash(Image.fromarray(pixels))), 16)], np.uint64).view(np.int64)[0]


@pytest.mark.parametrize("seed", range(20))
def test_the_hash_of_a_thumbnail_is_that_of_the_library_bit_by_bit(seed):
    """Gray and of the thumbnail's size, so that nothing is sampled, converted or scaled."""
    gray = np.random.default_rng(seed).integers(0, 256, (hashing.THUMBNAIL_SIDE,) * 2, dtype=np.uint8)
    pixels = np.repeat(gray[..., None], 3, axis=2)
    assert perceptual_hash(pixels) == library_hash(pixels)


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_of_a_photograph_is_nearly_that_of_the_library(seed):
    """The library makes its thumbnail with another filter."""
    assert distance(perceptual_hash(photograph(seed)), library_hash(photograph(seed))) <= 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3)])
def test_every_shape_has_a_hash(shape):
    assert -(1 << 63) <= perceptual_hash(np.full((*shape, 3), 90, np.uint8)) < 1 << 63
