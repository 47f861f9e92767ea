"""The rows that the workers of stage predict return: photographs with their faces, for Python, Arrow and Spark."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

FACE = (
    "struct<face: int, left: int, top: int, right: int, bottom: int, brightness: double, label: string, "
    "confidence: double, unusual: string, probabilities: array<double>>"
)
SCHEMA = f"photo string, bytes long, status string, width int, height int, warned boolean, faces array<{FACE}>"
_ARROW_FACE = pa.struct(
    [
        *((name, pa.int32()) for name in ("face", "left", "top", "right", "bottom")),
        ("brightness", pa.float64()),
        ("label", pa.string()),
        ("confidence", pa.float64()),
        ("unusual", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)
ARROW_SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("bytes", pa.int64()),
        ("status", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("warned", pa.bool_()),
        ("faces", pa.list_(_ARROW_FACE)),
    ]
)


@dataclass
class FaceRow:
    """A face in the table of photographs: number there, box in pixels, brightness, prediction, what is unusual."""

    face: int
    left: int
    top: int
    right: int
    bottom: int
    brightness: float | None = None
    label: str | None = None
    confidence: float | None = None
    unusual: str | None = None
    probabilities: list[float] | None = None


@dataclass
class PhotographRow:
    """A photograph: path and bytes as listed, status, size in pixels, whether the decoder warned of it, and faces."""

    photo: str
    bytes: int
    status: str = ""
    width: int | None = None
    height: int | None = None
    warned: bool = False
    faces: list[FaceRow] = field(default_factory=list)
