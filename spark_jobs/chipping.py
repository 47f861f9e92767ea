"""The work of one task of the job chip: cut the faces of some photographs, and write their chips as one file.

A worker writes its file itself: through the JVM, encoded chips would be copied several times and take longer to write
than photographs take to decode. The file's name is the task's number, so a task that Spark repeats replaces what an
earlier attempt at it left, with the same bytes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml import storage
from ml.features.columns import CHIP, CHIPS, EDGES, arrow_schema, names
from ml.photographs.read_ahead import read_ahead
from ml.photographs.source import Photographs
from spark_jobs.cutting import CHIPPED, FAULTS, Cut, Image, cut_image

SCHEMA = (*CHIPS, CHIP)
# Encoded chips can be compressed no further, and only the other columns have values that repeat.
PARQUET = {
    "compression": {column.name: "NONE" if column is CHIP else "ZSTD" for column in SCHEMA},
    "use_dictionary": [column.name for column in SCHEMA if column.spark == "string"],
    "write_statistics": list(names(CHIPS)),
}


@dataclass(frozen=True)
class Chipping:
    """What all tasks have in common.

    Attributes:
        photographs: The place that holds the photographs.
        margin: See `ml.vision.images.square`.
        min_face_size: In pixels of the stored photograph.
        folder: The folder of the table `chips`.
    """

    photographs: Photographs
    margin: float
    min_face_size: int
    folder: str


@dataclass
class Outcome:
    """The counts of one task or of several.

    Attributes:
        faces: The number of faces by status.
        images: The number of photographs, each decoded once.
        faults: The number of photographs by fault.
        warned: The number of photographs that were decoded although the decoder warned of them.
        examples: One of them by fault, as subset and image id.
    """

    faces: Counter[str] = field(default_factory=Counter)
    images: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    warned: int = 0
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def count(self, image: Image, cuts: Sequence[Cut]) -> None:
        """Count a photograph and its faces."""
        self.faces.update(cut.status for cut in cuts)
        self.images += 1
        self.warned += cuts[0].warned
        if (fault := cuts[0].status) in FAULTS:
            self.faults[fault] += 1
            self.examples.setdefault(fault, (image.subset, image.image_id))

    def add(self, other: Outcome) -> None:
        """Add the counts of another task; of two examples, the first one stays."""
        self.faces += other.faces
        self.images += other.images
        self.faults += other.faults
        self.warned += other.warned
        self.examples = other.examples | self.examples


def chip_part(number: int, faces: bytes, chipping: Chipping) -> Outcome:
    """Cut the faces of a task and write their chips.

    Args:
        number: The task's number.
        faces: The faces as an Arrow stream; those of an image follow each other.
        chipping: What to do.
    """
    cv2.setNumThreads(1)  # Spark runs one worker per core
    chips, outcome = cut_faces(pa.ipc.open_stream(faces).read_all(), chipping)
    write_chips(chips, chipping, f"{number:05d}")
    return outcome


def write_chips(chips: pa.Table, chipping: Chipping, name: str) -> None:
    """Write a part of the table of chips, if it has rows."""
    if chips.num_rows:
        buffer = pa.BufferOutputStream()
        pq.write_table(chips, buffer, **PARQUET)
        storage.write_bytes(storage.join(chipping.folder, f"part-{name}.parquet"), buffer.getvalue().to_pybytes())


def cut_faces(faces: pa.Table, chipping: Chipping) -> tuple[pa.Table, Outcome]:
    """Cut the faces of some images; return the rows of those that have a chip, and the counts of all."""

    def read(image: Image) -> bytes:
        return chipping.photographs.read(image.subset, image.image_id)

    cuts: list[Cut] = []
    outcome = Outcome()
    for image, content in read_ahead(by_image(faces), read):
        made = cut_image(image, content, chipping.margin, chipping.min_face_size)
        outcome.count(image, made)
        cuts += made
    return chip_table(faces, cuts), outcome


def chip_table(faces: pa.Table, cuts: Sequence[Cut]) -> pa.Table:
    """Return the rows of the faces that have a chip.

    Args:
        faces: The faces.
        cuts: The outcome of each of them.
    """
    columns = {name: faces.column(name) for name in names(CHIPS) if name in faces.column_names}
    columns["rotation"] = pc.fill_null(columns["rotation"], 0)
    for column in SCHEMA:
        if column.name not in columns:
            columns[column.name] = pa.array([getattr(cut, column.name) for cut in cuts], column.arrow)
    rows = pa.table([columns[name] for name in names(SCHEMA)], schema=arrow_schema(SCHEMA))
    return rows.filter(pa.array([cut.status == CHIPPED for cut in cuts], pa.bool_()))


def by_image(faces: pa.Table) -> Iterator[Image]:
    """Yield the photographs with the boxes of their faces; the rows of a photograph follow each other."""
    keys = zip(*(faces.column(name).to_pylist() for name in ("subset", "image_id", "rotation")), strict=True)
    boxes = zip(*(faces.column(edge).to_pylist() for edge in EDGES), strict=True)
    for (subset, image_id), group in itertools.groupby(zip(keys, boxes, strict=True), lambda row: row[0][:2]):
        rows = list(group)
        yield Image(subset, image_id, rows[0][0][2] or 0, [box for _, box in rows])
