"""Draw the sheets of sample photographs of stage explore."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from ml.config.training import TrainingConfig
from ml.photographs.source import photograph_name
from ml.report.data import Tile
from ml.report.subject import subject
from ml.stages.samples import Drawn, Face, Pair
from ml.vision import drawing, images
from ml.workflow.views import RunView

SIDE = 320  # pixels of a photograph's longer side
CHIP_SIDE = 160
QUALITY = 75  # some 15 kB a photograph, so that a page of two hundred stays below 6 MB
READERS = 8  # photographs read at once, since most of the time is spent waiting for storage
CONTACT_COLUMNS = 4
INSET = 3  # pixels by which a box is drawn inside another one with nearly the same edges
FACE_COLOR, MIAP_COLOR = drawing.PALETTE[2:4]  # the first two are the labels'
# Outcomes of stage chip.
ABSENT, UNREADABLE, TOO_LARGE, TOO_SMALL = "image absent", "image unreadable", "image too large", "too small"
T = TypeVar("T", Face, Pair)


class PhotographError(Exception):
    """A photograph cannot be shown.

    Attributes:
        name: The photograph.
        fault: The outcome of stage chip for its faces.
    """

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"{name}: {fault}")
        self.name, self.fault = name, fault


@dataclass(frozen=True)
class Shown:
    """The pictures of a sheet.

    Attributes:
        tiles: The pictures with their captions.
        missing: The photographs that cannot be shown.
    """

    tiles: tuple[Tile, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Illustrator:
    """Reads photographs of a run and draws boxes on them.

    Attributes:
        run: The run whose photographs are read.
        config: Its configuration.
        boxes: The boxes to draw beside a face, by image.
        verified: The classes verified in a photograph, as text by image.
    """

    run: RunView
    config: TrainingConfig
    boxes: Mapping[str, Sequence[Drawn]] = field(default_factory=dict)
    verified: Mapping[str, str] = field(default_factory=dict)

    def show_faces(self, faces: Sequence[Face], kinds: frozenset[str] = frozenset({"person"})) -> Shown:
        """Draw each face on its photograph, upright, with the boxes of some kinds."""

        def draw(face: Face) -> Tile:
            around = [box for box in self.boxes.get(face.image_id, ()) if box.kind in kinds]
            marked = Drawn(face.label or subject(self.config).noun, face.box, "face")
            # Boxes elsewhere in the photograph are drawn without a name, so that a crowd stays visible.
            named = [box if _touches(box, marked) else Drawn("", box.box, box.kind, box.label) for box in around]
            pixels = self._draw(face.subset, face.image_id, face.rotation, [*named, marked])
            key = face.face_id or face.image_id
            return Tile(to_jpeg(pixels), (face.image_id,), key, self._caption(face))

        return _show(draw, faces)

    def show_chips(self, faces: Sequence[Face]) -> Shown:
        """Cut the chips as stage chip does."""

        def draw(face: Face) -> Tile:
            assert face.box is not None  # a face with an invalid box has no label
            pixels = self._read(face.subset, face.image_id)
            chip = images.cut_chip(pixels, face.box, self.config.margin, face.rotation)
            picture = to_jpeg(drawing.fit(chip, CHIP_SIDE))
            return Tile(picture, (face.image_id,), face.face_id, face.label or "")

        return _show(draw, faces)

    def show_pairs(self, pairs: Sequence[Pair]) -> Shown:
        """Put the photographs of each pair side by side, upright."""

        def draw(pair: Pair) -> Tile:
            both = [self._draw(*photograph, ()) for photograph in pair.photographs]
            ids = tuple(image_id for _, image_id, _ in pair.photographs)
            caption = f"{' and '.join(pair.splits)}; distance {pair.distance}"
            return Tile(to_jpeg(drawing.side_by_side(both)), ids, " ".join(ids), caption)

        return _show(draw, pairs)

    def draw_contact_sheet(self, sample: Iterable[tuple[str, str, int]]) -> images.Pixels | None:
        """Draw photographs with all their boxes on one sheet, or return None if no photograph can be read.

        Args:
            sample: Subset, image id and rotation of each photograph.
        """
        pictures = []
        for subset, image_id, rotation in sample:
            try:
                pictures.append((self._draw(subset, image_id, rotation, self.boxes.get(image_id, ())), image_id))
            except PhotographError:
                continue  # stage chip counts these
        return drawing.contact_sheet(pictures, CONTACT_COLUMNS, SIDE) if pictures else None

    def sort_by_fault(self, faces: Sequence[Face]) -> dict[str, list[Face]]:
        """Sort labeled faces that were not cut out by the outcome of stage chip, which its table does not hold."""

        def fault(face: Face) -> str | None:
            assert face.box is not None  # a face with an invalid box has no label
            try:
                height, width = self._read(face.subset, face.image_id).shape[:2]
            except PhotographError as error:
                return error.fault
            return TOO_SMALL if min(images.box_size(face.box, width, height)) < self.config.min_face_size else None

        found: dict[str, list[Face]] = {ABSENT: [], UNREADABLE: [], TOO_LARGE: [], TOO_SMALL: []}
        with ThreadPoolExecutor(READERS) as pool:
            for face, outcome in zip(faces, pool.map(fault, faces), strict=True):
                if outcome:
                    found[outcome].append(face)
        return found

    def _read(self, subset: str, image_id: str) -> images.Pixels:
        name = photograph_name(subset, image_id)
        try:
            return images.decode(self.run.read_photograph(subset, image_id))
        except FileNotFoundError as error:
            raise PhotographError(name, ABSENT) from error
        except images.ImageTooLargeError as error:
            raise PhotographError(name, TOO_LARGE) from error
        except images.UnreadableImageError as error:
            raise PhotographError(name, UNREADABLE) from error

    def _draw(self, subset: str, image_id: str, rotation: int, boxes: Iterable[Drawn]) -> images.Pixels:
        """Return a photograph upright and small, with boxes, whose texts are upright too."""
        pixels = drawing.fit(images.turn_upright(self._read(subset, image_id), rotation), SIDE)
        height, width = pixels.shape[:2]
        marks: list[drawing.Mark] = []
        for box in boxes:
            if box.box is not None:
                place = drawing.rectangle(drawing.turn_box(box.box, rotation), width, height)
                while any(_covers(place, mark.box) for mark in marks):  # or it would hide the other box
                    place = place[0] + INSET, place[1] + INSET, place[2] - INSET, place[3] - INSET
                marks.append(drawing.Mark(place, box.name, self._color(box)))
        return drawing.draw_marks(pixels, marks)

    def _color(self, box: Drawn) -> drawing.Color:
        if box.kind == "person" and box.label is not None:
            return drawing.PALETTE[self.config.label_order.index(box.label)]
        return FACE_COLOR if box.kind == "face" else MIAP_COLOR

    def _caption(self, face: Face) -> str:
        differs = face.miap_label is not None and face.label is not None and face.miap_label != face.label
        label = f"{face.label}, MIAP {face.miap_label}" if differs else face.label
        return "; ".join(part for part in (label, self.verified.get(face.image_id)) if part)


def _show(draw: Callable[[T], Tile], wanted: Sequence[T]) -> Shown:
    """Draw tiles, several at once, and keep the names of the photographs that cannot be shown."""

    def attempt(one: T) -> Tile | PhotographError:
        try:
            return draw(one)
        except PhotographError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(attempt, wanted))
    return Shown(
        tuple(tile for tile in found if isinstance(tile, Tile)),
        tuple(error.name for error in found if isinstance(error, PhotographError)),
    )


def _covers(one: drawing.Rectangle, other: drawing.Rectangle) -> bool:
    return all(abs(edge - edge_of_other) < INSET for edge, edge_of_other in zip(one, other, strict=True))


def _touches(one: Drawn, other: Drawn) -> bool:
    if one.box is None or other.box is None:
        return False
    overlaps = (min(one.box[high], other.box[high]) > max(one.box[high - 1], other.box[high - 1]) for high in (1, 3))
    return all(overlaps)


def to_jpeg(pixels: images.Pixels) -> bytes:
    """Encode a picture for the page."""
    return images.encode_jpeg(pixels, QUALITY)
