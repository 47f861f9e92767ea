"""The CSV files of a drawn release: columns, classes, and how to write them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

SUBSETS = ("train", "validation", "test")

# Twenty-six of the 601 boxable classes with their real MIDs.
# fmt: off
CLASSES = {
    "/m/0138tl": "Toy", "/m/015p6": "Bird", "/m/0199g": "Bicycle", "/m/01bl7v": "Boy", "/m/01g317": "Person",
    "/m/01mzpv": "Chair", "/m/01yrx": "Cat", "/m/02wbm": "Food", "/m/03bt1vf": "Woman", "/m/03q69": "Human hair",
    "/m/04bcr3": "Table", "/m/04yx4": "Man", "/m/05r655": "Girl", "/m/05s2s": "Plant", "/m/06z37_": "Picture frame",
    "/m/07j7r": "Tree", "/m/07yv9": "Vehicle", "/m/09j2d": "Clothing", "/m/0bt9lr": "Dog", "/m/0c9ph5": "Flower",
    "/m/0c_jw": "Furniture", "/m/0cgh4": "Building", "/m/0d4v4": "Window", "/m/0dzct": "Human face",
    "/m/0jyfg": "Glasses", "/m/0k4j": "Car",
}
# fmt: on
Row = tuple[object, ...]  # in the order of the file's columns, the image ID first
MIDS = {name: mid for mid, name in CLASSES.items()}

LABEL_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
CORNERS = ("XMin", "XMax", "YMin", "YMax")
BOX_COLUMNS = (*LABEL_COLUMNS, *CORNERS, "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
IMAGE_COLUMNS = (
    *("ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title"),
    *("OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation"),
)
MIAP_COLUMNS = (
    *("ImageID", "LabelName", "Confidence", *CORNERS, "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepictionOf"),
    *("IsInsideOf", "GenderPresentation", "AgePresentation"),
)
TRUTH_COLUMNS = ("ImageID", "Subset", *CORNERS, "label", "age", "kind")


@dataclass
class Tables:
    """The rows gathered for the CSV files."""

    boxes: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    labels: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    images: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    miap: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    truth: list[Row] = field(default_factory=list)


def write_tables(folder: Path, tables: Tables) -> None:
    for subset in SUBSETS:
        short = "val" if subset == "validation" else subset
        train = subset == "train"
        boxes = f"{'2018_04/train' if train else 'v5'}/{subset}-annotations-bbox.csv"
        images = f"2018_04/{subset}/{subset}-images-{'boxable-' if train else ''}with-rotation.csv"
        labels = f"v5/{subset}-annotations-human-imagelabels-boxable.csv"
        _write_csv(folder / boxes, BOX_COLUMNS, tables.boxes[subset])
        _write_csv(folder / images, IMAGE_COLUMNS, tables.images[subset])
        _write_csv(folder / labels, LABEL_COLUMNS, tables.labels[subset])
        miap = f"open_images_extended_miap/open_images_extended_miap_boxes_{short}.csv"
        _write_csv(folder / miap, MIAP_COLUMNS, tables.miap[subset])
    _write_csv(folder / "truth.csv", TRUTH_COLUMNS, tables.truth)
    # The official list of classes has no header and has Windows line endings.
    classes = "".join(f"{mid},{name}\r\n" for mid, name in CLASSES.items())
    (folder / "v5" / "class-descriptions-boxable.csv").write_bytes(classes.encode())


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[Row]) -> None:
    """Write rows sorted by image ID, as in the official files; the rows of an image keep their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        rows.sort(key=lambda row: str(row[0]))
        writer.writerows(rows)
