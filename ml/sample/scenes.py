"""The scenes of a drawn release by number: the planted faults, the photograph and the rows of each."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from ml.sample.annotations import OLDER_SHARE, Boxes, annotate_sitter, image_labels, image_row, miap_row
from ml.sample.cartoons import LABELS, Sitter, draw_scene
from ml.sample.tables import Tables

SUBSETS_OF_TWENTY = ("train",) * 14 + ("validation",) * 3 + ("test",) * 3

# The scene's number determines what is planted, so that a small release has every kind. In these scenes out of every
# fifty, the first sitter is special. At two faces per scene, 2% are depictions, 2% groups and 3% each of the others.
KIND_OF_SCENE = (
    dict.fromkeys((3, 28), "depiction")
    | dict.fromkeys((11, 36), "group")
    | dict.fromkeys((6, 23, 40), "no person box")
    | dict.fromkeys((15, 31, 48), "two labels")
)


def image_id_of(number: int, seed: int) -> str:
    return hashlib.blake2b(f"sample release {seed}, scene {number}".encode(), digest_size=8).hexdigest()


def subset_of(number: int, seed: int) -> str:
    """Return the subset of a scene, shuffled within every twenty scenes.

    The shuffle keeps the subsets' shares exact and spreads what is planted over all subsets.
    """
    order = np.random.default_rng([seed, 1, number // 20]).permutation(20)
    return SUBSETS_OF_TWENTY[order[number % 20]]


def rotation_of(number: int) -> int:
    return (90, 270, 180)[number // 20 % 3] if number % 20 == 9 else 0


def add_scene(tables: Tables, number: int, seed: int) -> tuple[bytes, int]:
    """Draw one scene, add its rows to the tables, and return its JPEG and its `Rotation` in degrees."""
    rng = np.random.default_rng([seed, 0, number])
    kind = KIND_OF_SCENE.get(number % 50, "labelled")
    sitters = [
        Sitter(label=LABELS[int(rng.random() < 0.5)], child=bool(rng.random() < 0.25))
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])))
    ]
    if kind in ("depiction", "group"):
        sitters[0] = replace(sitters[0], kind=kind)
    image, portraits = draw_scene(rng, sitters)

    # Rotation is the counterclockwise turn that makes the stored image upright, so store it turned clockwise.
    rotation = rotation_of(number)
    if rotation:
        transposed = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
        image = image.transpose(transposed[rotation])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(80, 93)))
    jpeg = buffer.getvalue()

    image_id, subset = image_id_of(number, seed), subset_of(number, seed)
    kinds = [kind] + ["labelled"] * (len(sitters) - 1)
    boxes = Boxes(image_id, rotation // 90)
    annotators = np.random.default_rng([seed, 2, number])
    for place, (sitter, portrait, kind) in enumerate(zip(sitters, portraits, kinds, strict=True)):
        face = annotate_sitter(rng, boxes, sitter, portrait, kind, mechanical=(number + place) % 10 == 0)
        age = "Young" if sitter.child else "Older" if annotators.random() < OLDER_SHARE else "Middle"
        tables.truth.append((image_id, subset, *face, sitter.label, age, kind))
        tables.miap[subset].append(miap_row(annotators, boxes, sitter, portrait, age))
    tables.boxes[subset] += boxes.rows
    tables.labels[subset] += image_labels(rng, image_id, boxes.classes, contradicted=number % 33 == 18)
    tables.images[subset].append(image_row(rng, image_id, subset, number, rotation, jpeg))
    return jpeg, rotation
