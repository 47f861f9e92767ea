"""The formats in which the faces of a run can be exported."""

from __future__ import annotations

import enum


class Format(enum.StrEnum):
    """A format, as the command line names it."""

    COCO = "coco"
    IMAGE_FOLDER = "image-folder"
    HUGGING_FACE = "hugging-face"
