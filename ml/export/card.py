"""The card of an export: `README.md`, which the Hub shows and from which `datasets` learns where the files are."""

from __future__ import annotations

from ml.export.credits import licenses_of
from ml.export.formats import Format
from ml.export.record import ExportRecord
from ml.export.source import Source
from ml.export.written import Written
from ml.report.dataset_card import DatasetCardContent, render_dataset_card

CARD = "README.md"


def render_card(source: Source, written: Written, record: ExportRecord) -> str:
    """Return the Markdown of an export's card."""
    form = Format(record.format)
    chip_class = source.run.config.chip_class
    holds, numbering, pattern = {
        Format.COCO: (
            f"Boxes of the class {chip_class} in pixels of the photographs as stored, as COCO JSON.",
            "The number of a label's category is its place in this order, from 1.",
            "",
        ),
        Format.IMAGE_FOLDER: (
            f"Chips of the class {chip_class}: square, upright, one JPEG file each, in a folder by label.",
            "A model that numbers the labels must number them in this order, from 0.",
            "{part}/**",
        ),
        Format.HUGGING_FACE: (
            f"Chips of the class {chip_class}: square, upright, as JPEG in Parquet files.",
            "A label's number is its place in this order, from 0.",
            "data/{part}-*",
        ),
    }[form]
    return render_dataset_card(
        DatasetCardContent(
            config=source.run.config,
            run_id=record.run_id,
            holds=holds,
            numbering=numbering,
            task="object-detection" if form is Format.COCO else "image-classification",
            divided_by=record.divided_by,
            faces=record.faces,
            left_out=record.left_out,
            photographs=record.photographs,
            without_author=record.without_author,
            licenses=[(row.name, row.url, row.photographs) for row in licenses_of(written.photographs)],
            data_files={part: pattern.format(part=part) for part in written.parts} if pattern else {},
        )
    )
