"""The published files of Open Images V4 to V7: which table each one holds, where it lies, and which versions it is of.

A release has each file in its official folder or, in a flat folder, under its name alone; compressed by gzip or not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ml.photographs.source import SUBSETS

ALL = "all"  # in place of the subset, for a file that holds the rows of all of them
CLASSES = "classes"  # the class descriptions, which are no table of rows
TABLES = ("labels", "boxes", "images", "miap")
OPTIONAL = ("miap",)  # a table that a release, or one of its subsets, may lack
FIRST, LAST = 4, 7  # the versions that are read
GZIP = ".gz"


@dataclass(frozen=True)
class Place:
    """A path at which a release may have a file of a table.

    Attributes:
        path: The path below the release folder.
        subset: The subset whose rows it holds, or `ALL`.
        first: The first version that the file is part of.
        last: The last one.
        counted: `ml.release.contract.PUBLISHED_ROWS` tells its number of rows.
        all_classes: It has image-level labels of all classes, of which only some are boxable and described.
        superseded: An older edition of a file of the same folder, which has no column Rotation.
    """

    path: str
    subset: str
    first: int = FIRST
    last: int = LAST
    counted: bool = False
    all_classes: bool = False
    superseded: bool = False

    @property
    def name(self) -> str:
        """The file's name, under which a flat folder has it."""
        return self.path.rpartition("/")[2]

    def fits(self, first: int, last: int) -> bool:
        """Return whether the file is part of one of these versions."""
        return self.first <= last and first <= self.last


def _each(path: str, first: int = FIRST, last: int = LAST, **traits: bool) -> list[Place]:
    """Return a file of each subset; MIAP and V7 name the validation subset `val`, which is {short}."""
    shorts = {subset: "val" if subset == "validation" else subset for subset in SUBSETS}
    return [Place(path.format(subset=s, short=short), s, first, last, **traits) for s, short in shorts.items()]


_LABELS = "{subset}-annotations-human-imagelabels"
_BOXES = "{subset}-annotations-bbox.csv"
_IMAGES = "2018_04/{subset}/{subset}-images"
# Of the files of a table, the one that most releases have comes first.
OFFICIAL: dict[str, list[Place]] = {
    CLASSES: [
        # The classes are the same in all versions, and V6 is often used with the file of V5.
        Place("v5/class-descriptions-boxable.csv", ALL, 5, 7),
        Place("2018_04/class-descriptions-boxable.csv", ALL, 4, 7),
        Place("v6/oidv6-class-descriptions-boxable.csv", ALL, 6, 6),
        Place("v7/oidv7-class-descriptions-boxable.csv", ALL, 7, 7),
    ],
    "labels": [
        *_each(f"v5/{_LABELS}-boxable.csv", 5, 7, counted=True),
        *_each(f"2018_04/{{subset}}/{_LABELS}-boxable.csv", 4, 4),
        *_each(f"v5/{_LABELS}.csv", 5, 6, all_classes=True),
        *_each(f"2018_04/{{subset}}/{_LABELS}.csv", 4, 4, all_classes=True),
        Place("v6/oidv6-train-annotations-human-imagelabels.csv", "train", 6, 6, all_classes=True),
        *_each("v7/oidv7-{short}-annotations-human-imagelabels.csv", 7, 7, all_classes=True),
    ],
    "boxes": [
        Place("2018_04/train/train-annotations-bbox.csv", "train", 4, 5, counted=True),
        *[place for place in _each(f"v5/{_BOXES}", 5, 7, counted=True) if place.subset != "train"],
        Place("v6/oidv6-train-annotations-bbox.csv", "train", 6, 7, counted=True),
        # V4 has fewer boxes in these two subsets.
        *[place for place in _each(f"2018_04/{{subset}}/{_BOXES}", 4, 4) if place.subset != "train"],
    ],
    "images": [
        *_each(f"{_IMAGES}-boxable-with-rotation.csv", counted=True),
        *_each(f"{_IMAGES}-with-rotation.csv", counted=True),
        *_each(f"{_IMAGES}-boxable.csv", counted=True, superseded=True),
        *_each(f"{_IMAGES}.csv", counted=True, superseded=True),
        Place("2018_04/train/train-images-with-labels-with-rotation.csv", "train", 4, 5),
        Place("v6/oidv6-train-images-with-labels-with-rotation.csv", "train", 6, 7),
        Place("2018_04/image_ids_and_rotation.csv", ALL),
    ],
    "miap": _each("open_images_extended_miap/open_images_extended_miap_boxes_{short}.csv"),
}


@functools.cache
def places(table: str, subset: str) -> tuple[Place, ...]:
    """Return the possible places of the rows of a table and a subset: the official ones, then those in a flat folder.

    Several versions may have a file of the same name. In a flat folder, it may be that of any of them.
    """
    official = [place for place in OFFICIAL[table] if place.subset in (subset, ALL)]
    flat: dict[str, Place] = {}
    for place in official:
        same = flat.get(place.name, replace(place, path=place.name))
        flat[place.name] = replace(
            same,
            first=min(same.first, place.first),
            last=max(same.last, place.last),
            counted=same.counted or place.counted,
        )
    return (*official, *flat.values())


def folders() -> Iterator[str]:
    """Yield the folders of a release that may hold annotation files; the empty one is the release folder itself."""
    paths = (place.path for known in OFFICIAL.values() for place in known)
    yield from dict.fromkeys(["", *(path.rpartition("/")[0] for path in paths)])


def common_versions(found: Iterable[Place]) -> tuple[int, int]:
    """Return the first and the last version that all files are part of; the first is greater if there is none."""
    known = list(found)
    return max((place.first for place in known), default=FIRST), min((place.last for place in known), default=LAST)


def version_name(first: int, last: int) -> str:
    """Return the version as text: `V5`, `V4 or V5` if the files do not tell, `V5 and V7, mixed` for files of both."""
    if first > last:
        return f"V{last} and V{first}, mixed"
    *others, newest = (f"V{number}" for number in range(first, last + 1))
    return f"{', '.join(others)} or {newest}" if others else newest
