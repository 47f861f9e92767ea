"""The columns that travel with a face: one table, from which every stage derives its schemas and the slices.

To report a model's metrics by another column, add a row with a `Slicing`, and compute the column in the stage that its
`Origin` names. Raise the version of every stage whose output gets the column.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from ml.features.slicing import Slicing, by_flag, by_range
from ml.release.miap import AGES, UNKNOWN

FACE_EDGES = (48.0, 64.0, 96.0, 160.0)  # pixels; training refuses faces below min_face_size, 32 by default
BRIGHTNESS_EDGES = (0.2, 0.35, 0.5, 0.65)
CHILD, ADULT = "Girl or Boy", "Woman or Man"
AGE_OF_CLASS = {"Girl": CHILD, "Boy": CHILD, "Woman": ADULT, "Man": ADULT}
ARROW_TYPES = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "binary": pa.binary(),
}


class Origin(enum.Enum):
    """The stage that gives a column its value."""

    IMAGE = "join_labels, the same for all faces of an image"
    BOX = "join_labels, the face's box; chip reads it and drops it"
    FACE = "join_labels; chip carries it along"
    CHIP = "chip: an attribute of `spark_jobs.cutting.Cut`"
    PIXELS = "featurize: measured on the pixels that the network sees"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: The name, the same in every table.
        spark: The type in Spark's DDL.
        origin: The stage that gives the column its value.
        slicing: How to split the faces by the column, if metrics are reported by it.
    """

    name: str
    spark: str
    origin: Origin
    slicing: Slicing | None = None

    @property
    def arrow(self) -> pa.DataType:
        """The type in Arrow."""
        return ARROW_TYPES[self.spark]


# This order defines the table `chips` and the digest of faces in the key of the chips, so it must not change.
FACE_COLUMNS = (
    Column("face_id", "string", Origin.FACE),
    Column("image_id", "string", Origin.IMAGE),
    Column("subset", "string", Origin.IMAGE),
    Column(
        "rotation", "int", Origin.IMAGE, Slicing("Rotation of the photograph", lambda turn: f"{int(turn)}°", rank=6)
    ),
    Column("x_min", "double", Origin.BOX),
    Column("x_max", "double", Origin.BOX),
    Column("y_min", "double", Origin.BOX),
    Column("y_max", "double", Origin.BOX),
    Column("label", "string", Origin.FACE),
    Column("source", "string", Origin.FACE, Slicing("Source of the box", rank=5)),
    Column("is_occluded", "tinyint", Origin.FACE, by_flag("Occlusion", "occluded", rank=3)),
    Column("is_truncated", "tinyint", Origin.FACE, by_flag("Truncation", "truncated", rank=4)),
    Column("miap_label", "string", Origin.FACE),
    Column("age_presentation", "string", Origin.FACE, Slicing("Age presentation (MIAP)", order=AGES, rank=1)),
    Column(
        "source_class",
        "string",
        Origin.FACE,
        Slicing("Age by the class of the person box", AGE_OF_CLASS.get, (CHILD, ADULT), rank=1),
    ),
    Column(
        "face_px",
        "double",
        Origin.CHIP,
        by_range("Face size (shorter side of the box)", FACE_EDGES, lambda edge: f"{edge:.0f}", " px", rank=2),
    ),
    Column("image_hash", "long", Origin.CHIP),  # of the whole photograph, see `ml.vision.hashing`
    Column("box_aspect", "double", Origin.CHIP),
    Column(
        "brightness",
        "double",
        Origin.PIXELS,
        by_range("Brightness of the chip (mean luma)", BRIGHTNESS_EDGES, lambda edge: f"{100 * edge:.0f}", "%", rank=7),
    ),
)
LABEL_INDEX = Column("label", "tinyint", Origin.PIXELS)  # replaces the label's name in features
CHIP = Column("chip", "binary", Origin.CHIP)  # the encoded chip
PIXELS = Column("pixels", "binary", Origin.PIXELS)  # uint8 RGB, row by row
# Features begin with these columns for compatibility; the others follow in the order of the table above.
_FEATURES_FIRST = ("face_id", "image_id", "label", "rotation", "face_px", "is_occluded", "is_truncated", "source")


def of_origin(*origins: Origin) -> tuple[Column, ...]:
    """Return the columns with one of the origins, in the table's order."""
    return tuple(column for column in FACE_COLUMNS if column.origin in origins)


def names(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the columns' names."""
    return tuple(column.name for column in columns)


def ddl(columns: Iterable[Column]) -> str:
    """Return the columns' schema in Spark's DDL."""
    return ", ".join(f"{column.name} {column.spark}" for column in columns)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the columns' Arrow schema."""
    return pa.schema([(column.name, column.arrow) for column in columns])


def _in_features() -> tuple[Column, ...]:
    kept = [column for column in FACE_COLUMNS if column.origin is not Origin.BOX and column.name != "subset"]
    ranks = {name: rank for rank, name in enumerate(_FEATURES_FIRST)}
    ordered = sorted(kept, key=lambda column: ranks.get(column.name, len(ranks)))
    return tuple(LABEL_INDEX if column.name == LABEL_INDEX.name else column for column in ordered)


def _slicings() -> dict[str, Slicing]:
    slicings = {column.name: column.slicing for column in FACE_COLUMNS if column.slicing}
    return dict(sorted(slicings.items(), key=lambda item: item[1].rank))


IDS = ("face_id", "image_id")
MIAP_LABEL = "miap_label"
EDGES = names(of_origin(Origin.BOX))
# What a face's chip and its carried columns depend on, besides the photograph.
ASKED = names(of_origin(Origin.IMAGE, Origin.BOX, Origin.FACE))
CARRIED = of_origin(Origin.FACE)
CHIPS = of_origin(Origin.IMAGE, Origin.FACE, Origin.CHIP)  # the table `chips`, without the encoded chips
FEATURES = _in_features()  # the table `features`, without split and pixels
SLICINGS = _slicings()  # by column name, in the order of the report
# The columns that tell the age of a person, with the slices that do: a release without children may call all adults.
AGE_SLICES = {"age_presentation": tuple(age for age in AGES if age != UNKNOWN), "source_class": (CHILD,)}
EVALUATED = (*SLICINGS, MIAP_LABEL)  # the columns that evaluation reads besides label and pixels
