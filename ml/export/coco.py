"""COCO: the boxes of the labeled faces with their labels, in one JSON file per subset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import polars as pl

from ml.export.credits import OPEN_IMAGES, file_name, licenses_of, photographs_of
from ml.export.source import CREDITS, FLAGS, PHOTOGRAPH, Source
from ml.export.written import EXPORT, Written, count_faces
from ml.features.columns import EDGES
from ml.photographs.source import Key
from ml.vision import images

BYTES_PER_FACE = 800  # of JSON, for the space estimate; with the photograph's own entry
Measured = tuple[int | None, int | None, str | None]  # width, height, fault
ABSENT, UNREADABLE, TOO_LARGE = "image absent", "image unreadable", "image too large"


def coco_file(subset: str) -> str:
    """Return the name of a subset's file."""
    return f"instances_{subset}.json"


def write_coco(source: Source, folder: Path) -> Written:
    """Write the labeled faces whose photographs can be read; the others are counted by reason.

    A box is in pixels of the photograph as it is stored: rotation and margin apply to chips only.
    """
    faces = source.labeled_faces()
    listed = faces.select(*PHOTOGRAPH, "rotation", *CREDITS).unique(PHOTOGRAPH, keep="first", maintain_order=True)
    sizes = measure(source, listed)
    photographs = listed.with_columns(sizes)
    readable = photographs.filter(pl.col("fault").is_null()).with_row_index("id", offset=1)
    kept = faces.join(readable.select(*PHOTOGRAPH, pl.col("id").alias("image"), "width", "height"), on=PHOTOGRAPH)
    kept = kept.sort("image", "face_id").with_row_index("id", offset=1)
    faults = faces.join(photographs.select(*PHOTOGRAPH, "fault"), on=PHOTOGRAPH).drop_nulls("fault")
    left_out = dict(faults.group_by("fault").len().sort("fault").iter_rows())
    written = Written(
        faces=count_faces(kept.with_columns(pl.col("subset").alias("part")), source.labels),
        photographs=photographs_of(kept),
        left_out={**source.left_out("join_labels"), EXPORT: left_out},
        divided_by="subset",
    )
    for subset in written.parts:
        with (folder / coco_file(subset)).open("w", encoding="utf-8") as file:
            of_subset = pl.col("subset") == subset
            _write(file, source, written, readable.filter(of_subset), kept.filter(of_subset))
    return written


def measure(source: Source, photographs: pl.DataFrame) -> list[pl.Series]:
    """Return the columns width, height and fault of photographs, read from their headers.

    No committed table knows the size of a photograph whose faces are all too small to be cut out, so the files are
    read where the run's chips were cut from. Only the headers are decoded.
    """
    keys = [Key(*row) for row in photographs.select(PHOTOGRAPH).iter_rows()]
    sizes = {key: _size(content) for key, content in source.run.view.read_photographs(keys)}
    found = [sizes[key] for key in keys]
    schema = {"width": pl.Int32, "height": pl.Int32, "fault": pl.String}
    return pl.DataFrame(found, schema=schema, orient="row").get_columns()


def _size(content: Callable[[], bytes]) -> Measured:
    try:
        header = images.read_header(content())
    except FileNotFoundError:
        return None, None, ABSENT
    except images.ImageTooLargeError:
        return None, None, TOO_LARGE
    except (images.UnreadableImageError, PermissionError, IsADirectoryError):
        return None, None, UNREADABLE
    return header.width, header.height, None


def _write(file: TextIO, source: Source, written: Written, photographs: pl.DataFrame, faces: pl.DataFrame) -> None:
    """Write a file as a stream, one image or annotation per line."""
    licenses = licenses_of(written.photographs)
    numbers = {license.url or None: license.id for license in licenses}
    made, subject = source.made, source.subject
    info = {
        "description": f"Open Images boxes of the class {source.run.config.chip_class}, labeled by {subject.title}. "
        f"{subject.statement} {subject.limits}".strip(),
        "url": OPEN_IMAGES,
        "version": "1.0",
        "year": made.year,
        "contributor": "Open Images authors and annotators",
        "date_created": made.isoformat(),
        "run": source.run.run_id,
        "left_out": written.left_out,
    }
    file.write(f'{{"info": {_json(info)},\n"licenses": ')
    file.write(_json([{"id": row.id, "name": row.name, "url": row.url} for row in licenses]))
    file.write(',\n"categories": ')
    file.write(_json(categories(source)))
    _write_list(file, "images", _images(photographs, numbers))
    _write_list(file, "annotations", _annotations(faces, source.labels))
    file.write("}\n")


def categories(source: Source) -> list[dict[str, object]]:
    """Return the categories: a label's index plus one, because detectors use 0 for the background."""
    group = source.run.config.chip_class
    return [{"id": number, "name": label, "supercategory": group} for number, label in enumerate(source.labels, 1)]


def _images(photographs: pl.DataFrame, licenses: Mapping[str | None, int]) -> Iterator[dict[str, object]]:
    for row in photographs.with_columns(file_name().alias("file_name")).iter_rows(named=True):
        yield {
            **{name: row[name] for name in ("id", "file_name", "width", "height")},
            "license": licenses[row["license"]],
            "open_images_id": row["image_id"],
            **{name: row[name] for name in ("rotation", "author", "title")},
            "landing_page": row["landing_url"],
        }


def _annotations(faces: pl.DataFrame, labels: tuple[str, ...]) -> Iterator[dict[str, object]]:
    number = {label: index for index, label in enumerate(labels, 1)}
    for row in faces.iter_rows(named=True):
        x_min, x_max, y_min, y_max = (row[edge] for edge in EDGES)
        width, height = images.box_size((x_min, x_max, y_min, y_max), row["width"], row["height"])
        yield {
            "id": row["id"],
            "image_id": row["image"],
            "category_id": number[row["label"]],
            "bbox": [x_min * row["width"], y_min * row["height"], width, height],
            "area": width * height,
            "iscrowd": int(row["is_group_of"] == 1),
            "segmentation": [],  # some readers require the key
            **{name: row[name] for name in ("face_id", "source", *FLAGS, "is_group_of", "is_depiction")},
        }


def _write_list(file: TextIO, name: str, rows: Iterable[Mapping[str, object]]) -> None:
    file.write(f',\n"{name}": [')
    for number, row in enumerate(rows):
        file.write(",\n" if number else "\n")
        file.write(_json(row))
    file.write("]")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
