"""The layout of the published files of Open Images."""

from __future__ import annotations

# The possible places of each table's files: the official path first, then a flat folder of downloads. The boxes in
# 2018_04/validation and 2018_04/test are those of V4, fewer than in V5, and are left out on purpose.
_LABELS = "{subset}-annotations-human-imagelabels-boxable.csv"
_BOXES = "{subset}-annotations-bbox.csv"
_MIAP = "open_images_extended_miap_boxes_{short}.csv"  # {short} is `val` for validation
_IMAGES = ("{subset}-images-boxable-with-rotation.csv", "{subset}-images-with-rotation.csv", "{subset}-images.csv")
LAYOUT: dict[str, tuple[str, ...]] = {
    "labels": (f"v5/{_LABELS}", _LABELS),
    "boxes": (f"v5/{_BOXES}", _BOXES),
    "images": (*(f"2018_04/{{subset}}/{name}" for name in _IMAGES), *_IMAGES),
    "miap": (f"open_images_extended_miap/{_MIAP}", _MIAP),
}
OPTIONAL = ("miap",)  # a table that a release, or one of its subsets, may lack
TRAIN_BOXES = ("2018_04/train/train-annotations-bbox.csv", "train-annotations-bbox.csv")
CLASSES = ("v5/class-descriptions-boxable.csv", "class-descriptions-boxable.csv")


def places(table: str, subset: str) -> list[str]:
    """Return the possible paths of a table's file for a subset, the official path first."""
    known = TRAIN_BOXES if (table, subset) == ("boxes", "train") else LAYOUT[table]
    return [place.format(subset=subset, short="val" if subset == "validation" else subset) for place in known]
