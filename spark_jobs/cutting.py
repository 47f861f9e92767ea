"""Cut the faces out of one photograph: what a worker of the job chip does, without Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ml.vision import images
from ml.vision.hashing import perceptual_hash

CHIPPED = "chipped"
TOO_SMALL = "too small"
# Faults of a photograph, which affect all its faces.
FAULTS = ABSENT, UNREADABLE, TOO_LARGE = ("image absent", "image unreadable", "image too large")
REASONS = (*FAULTS, TOO_SMALL)


@dataclass(frozen=True)
class Image:
    """A photograph with the bounding boxes of the faces to cut out of it.

    Attributes:
        subset: The photograph's subset.
        image_id: The photograph's ImageID.
        rotation: The rotation in degrees that turns it upright, see `ml.vision.images.turn_upright`.
        boxes: The bounding boxes of the faces.
    """

    subset: str
    image_id: str
    rotation: int
    boxes: Sequence[images.Box]


@dataclass(frozen=True)
class Cut:
    """The outcome of cutting one face.

    Attributes:
        status: `CHIPPED`, or one of `REASONS`.
        face_px: The shorter side of the box in pixels of the stored photograph; None if the photograph is unreadable.
        image_hash: The perceptual hash of the whole photograph, or None if there is no chip.
        box_aspect: Height of the box as a share of its width on the upright photograph, or None if there is no chip.
        chip: The encoded chip, or None.
        warned: The decoder warned of the photograph, though the picture is whole.
    """

    status: str
    face_px: float | None = None
    image_hash: int | None = None
    box_aspect: float | None = None
    chip: bytes | None = None
    warned: bool = False


def cut_image(image: Image, content: Callable[[], bytes], margin: float, min_face_size: int) -> list[Cut]:
    """Decode one photograph and cut all its faces into upright chips; the boxes do not change.

    Args:
        image: The photograph and the boxes of its faces.
        content: Returns the photograph's file, or raises the error of reading it.
        margin: See `ml.vision.images.square`.
        min_face_size: In pixels of the stored photograph.

    Returns:
        The outcome of each face, in the order of the boxes.
    """
    warnings: list[str] = []
    try:
        stored = images.read_header(content())
        large = [box for box in image.boxes if _face_px(stored, box) >= min_face_size]
        sides = [images.square(box, stored.width, stored.height, margin)[2] for box in large]
        # Whoever has no large face is decoded too, as far as needed to tell that the file is whole.
        reduction = images.reduction_for(min(sides)) if sides else images.REDUCTIONS[0]
        pixels = stored.decode(reduction, warnings)
    except FileNotFoundError:
        return [Cut(ABSENT)] * len(image.boxes)
    except images.ImageTooLargeError:
        return [Cut(TOO_LARGE)] * len(image.boxes)
    except (images.UnreadableImageError, PermissionError, IsADirectoryError):
        return [Cut(UNREADABLE)] * len(image.boxes)
    image_hash = perceptual_hash(pixels) if large else None
    cuts = []
    for box in image.boxes:
        face_px = _face_px(stored, box)
        if face_px < min_face_size:
            cuts.append(Cut(TOO_SMALL, face_px, warned=bool(warnings)))
        else:
            chip = images.encode_jpeg(images.cut_chip(pixels, box, margin, image.rotation))
            cuts.append(
                Cut(CHIPPED, face_px, image_hash, _aspect(stored, box, image.rotation), chip, warned=bool(warnings))
            )
    return cuts


def _face_px(image: images.EncodedImage, box: images.Box) -> float:
    return min(images.box_size(box, image.width, image.height))


def _aspect(image: images.EncodedImage, box: images.Box, rotation: int) -> float:
    width, height = images.box_size(box, image.width, image.height)
    return width / height if rotation in (90, 270) else height / width
