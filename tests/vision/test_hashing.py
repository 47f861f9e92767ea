"""The hash of a photograph hardly changes when it is saved or scaled again, and differs from another one's."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.features.duplicates import BITS, MAX_DISTANCE
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
    return int(np.bitwise_count(np.array([one, other]).view(np.uint64)[:1] ^ np.array([other]).view(np.uint64))[0])


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


def test_the_hash_is_that_of_the_library_up_to_how_the_thumbnail_is_made():
    import imagehash

    pixels = photograph(3)
    library = int(str(imagehash.phash(Image.fromarray(pixels))), 16)
    assert int(np.bitwise_count(np.uint64(perceptual_hash(pixels) % (1 << BITS)) ^ np.uint64(library))) <= 4
    assert hashing.BITS == BITS


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3)])
def test_every_shape_has_a_hash(shape):
    assert -(1 << 63) <= perceptual_hash(np.full((*shape, 3), 90, np.uint8)) < 1 << 63
