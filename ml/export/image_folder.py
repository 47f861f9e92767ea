"""An image folder: `<part>/<label>/<face_id>.jpg`, as Keras, torchvision and Hugging Face's `imagefolder` read it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl

from ml.export.credits import NOT_STATED, file_name
from ml.export.source import Source
from ml.export.written import Written, of_chips

METADATA = "metadata.csv"
# Hugging Face guesses a column's type from each part's first rows. So nothing here is ever empty, and an image id,
# which may look like a number, is within a path.
COLUMNS = ("file_name", "label", "face_id", "photograph", "license", "author", "landing_page")
_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f]|^[._ ]|[. ]$')


def folder_of(label: str) -> str:
    """Return the folder of a label: its name, with `%` and a number for what a file system may not take."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", label)


def write_image_folder(source: Source, folder: Path) -> Written:
    """Write the chips as files, byte for byte as they are in the table of chips, and a `metadata.csv` in each part."""
    rows = source.chips().drop_nulls("part")
    written = of_chips(source, rows)
    credits = [pl.col(name).fill_null(NOT_STATED) for name in ("license", "author", "landing_url")]
    rows = rows.select("face_id", "part", "label", file_name().alias("photograph"), *credits)
    for part in written.parts:
        for label in source.labels:  # Keras numbers the folders that it finds, so that none may be missing
            (folder / part / folder_of(label)).mkdir(parents=True)
    with _tables(folder, written.parts) as tables:
        for batch in source.encoded(rows):
            for row in batch.iter_rows(named=True):
                name = f"{folder_of(row['label'])}/{row['face_id']}.jpg"
                (folder / row["part"] / name).write_bytes(row["chip"])
                tables[row["part"]].writerow({**row, "file_name": name, "landing_page": row["landing_url"]})
    return written


@contextmanager
def _tables(folder: Path, parts: list[str]) -> Iterator[Mapping[str, csv.DictWriter[str]]]:
    """Yield the writer of each part's `metadata.csv`."""
    with ExitStack() as stack:
        writers = {}
        for part in parts:
            file = stack.enter_context((folder / part / METADATA).open("w", encoding="utf-8", newline=""))
            writers[part] = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writers[part].writeheader()
        yield writers
