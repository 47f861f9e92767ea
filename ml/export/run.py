"""Export the faces of a run: the command `export`."""

from __future__ import annotations

import logging
from pathlib import Path

from ml import disk, storage
from ml.errors import ConfigurationError, DataError
from ml.export.card import CARD, render_card
from ml.export.coco import BYTES_PER_FACE, write_coco
from ml.export.credits import write_attribution
from ml.export.croissant import write_croissant
from ml.export.formats import Format
from ml.export.hugging_face import write_hugging_face
from ml.export.image_folder import write_image_folder
from ml.export.record import ExportRecord
from ml.export.source import Source, open_source
from ml.export.written import Written

log = logging.getLogger(__name__)
EXPORT_FILE = "export.json"
BLOCK = 4096  # bytes of a disk that the smallest file takes
_WRITERS = {
    Format.COCO: write_coco,
    Format.IMAGE_FOLDER: write_image_folder,
    Format.HUGGING_FACE: write_hugging_face,
}


def export_run(uri: str, out: str, form: Format) -> ExportRecord:
    """Write the labeled faces of a run into a new or empty folder, whole or not at all.

    Args:
        uri: The run folder; the run must have cut its chips.
        out: The folder to write, on a local disk.
        form: The format.

    Raises:
        ConfigurationError: `out` is not on a local disk or not empty, or there is no such training run.
        DataError: The run has not cut its chips, or its tables do not belong together.
        ResourceError: The disk has too little free space.
    """
    source = open_source(uri)
    folder = _local(out)
    disk.check_space(str(folder), _space(source, form), f"The exported faces of run {source.run.run_id}")
    with disk.whole_folder(folder) as partial:
        written = _WRITERS[form](source, partial)
        _check_any(source, written)
        write_attribution(written.photographs, partial)
        record = _record(source, written, form)
        (partial / CARD).write_text(render_card(source, written, record), encoding="utf-8")
        storage.write_json(str(partial / EXPORT_FILE), record.json_values())
        write_croissant(form, source, written, partial)
    log.info("%s: %s faces of %s photographs", folder, f"{record.total:,}", f"{record.photographs:,}")
    return record


def _local(out: str) -> Path:
    """Return the path of a local folder.

    Raises:
        ConfigurationError: It is a URI of another file system.
    """
    scheme, separator, path = out.partition("://")
    if not separator:
        return Path(out).expanduser().resolve()
    if scheme == "file":
        return Path(path)
    raise ConfigurationError(
        f"{out} is not on a local disk, and a whole folder can be moved into place only there.",
        "Export to a local folder, then copy it with the store's own program.",
    )


def _space(source: Source, form: Format) -> int:
    """Return about how many bytes an export takes."""
    labeled, chips = source.manifests["join_labels"].rows("faces"), source.manifests["chip"].rows("chips")
    if form is Format.COCO:
        return labeled * BYTES_PER_FACE
    return source.chip_bytes + (chips * BLOCK // 2 if form is Format.IMAGE_FOLDER else 0)


def _check_any(source: Source, written: Written) -> None:
    """Check that at least one face was written.

    Raises:
        DataError: There is none; the message gives the reasons.
    """
    if not written.parts:
        reasons = ", ".join(f"{n} {reason}" for counts in written.left_out.values() for reason, n in counts.items())
        raise DataError(f"Run {source.run.run_id} has no face to export ({reasons}).", "Check its release.")


def _record(source: Source, written: Written, form: Format) -> ExportRecord:
    photographs = written.photographs
    return ExportRecord(
        run_id=source.run.run_id,
        format=form,
        attempts=source.attempts,
        divided_by=written.divided_by,
        labels=source.labels,
        faces=written.faces,
        left_out=written.left_out,
        photographs=photographs.height,
        without_author=photographs["author"].null_count(),
        without_license=photographs["license"].null_count(),
    )
