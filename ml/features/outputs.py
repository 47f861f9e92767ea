"""The contract of the stages' tables: what each Parquet table holds, in one table from which jobs and docs derive.

Columns that are published derive from `ml.release.contract`, columns that travel with a face from
`ml.features.columns`. `ml.features.output_checks` checks tables. `docs/data-contract.md` is rendered from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pyarrow as pa

from ml.features.columns import ARROW_TYPES, CHIP, CHIPS, EDGES, FEATURES, LABEL_INDEX, PIXELS, Column
from ml.features.duplicates import MAX_DISTANCE
from ml.features.output_table import ANY, Key, OutputColumn, OutputTable, Reference, Where
from ml.flow.reasons import EXPLANATIONS, REPLACED
from ml.photographs.source import SUBSETS
from ml.release import contract
from ml.release.contract import QUARANTINE, Rule
from ml.release.delivery import HELD
from ml.release.miap import AGES
from ml.release.parse import ARROW

IMAGE_ID = r"^[0-9a-f]{16}$"
FACE_ID = r"^[0-9a-f]{16}-[0-9a-f]{12}$"
DELIVERY = r"^(release|\d{4}-\d{2}-\d{2})$"
_INF = float("inf")

# --- columns that several tables have

_SOUND, _VALID = Where("reason", ("invalid box",), but=True), Where("valid", (True,))
_LABELLED = Where("reason", ("labelled",))
_FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")
_PUBLISHED = {name: {column.name: column for column in table.columns} for name, table in contract.TABLES.items()}
_SPARK = {arrow: spark for spark, arrow in ARROW_TYPES.items()}


def _published(table: str, column: str, name: str) -> OutputColumn:
    """Return the column that the stages make of a published one."""
    found = _PUBLISHED[table][column]
    arrow = ARROW[found.kind]
    spark = _SPARK[arrow.value_type if pa.types.is_dictionary(arrow) else arrow]
    return OutputColumn(name, spark, found.filled, found.limits, found.allowed)


def _text(name: str, filled: bool = True, allowed: tuple[str, ...] = (), pattern: str = "") -> OutputColumn:
    return OutputColumn(name, "string", filled, allowed=allowed, pattern=pattern)


def _box(table: str, flags: tuple[str, ...], where: Where) -> tuple[OutputColumn, ...]:
    """Return the edges and flags of a box."""
    edges = zip(contract.EDGES, EDGES, strict=True)
    columns = (*edges, *zip(flags, _FLAGS, strict=False))
    return tuple(replace(_published(table, published, name), where=where) for published, name in columns)


_IMAGE, _SUBSET = _text("image_id", pattern=IMAGE_ID), _text("subset", allowed=SUBSETS)
_NAMED = _text("delivery", pattern=DELIVERY)
_CLASS = (_text("mid"), _text("name"), _text("label", filled=False))
_ROTATION = replace(_published("images", "Rotation", "rotation"), spark="int")
_SPLIT = _text("split", allowed=SUBSETS)
_AGE = _text("age_presentation", filled=False, allowed=AGES)
_FACE_BOX = _box("boxes", contract.FLAGS, _SOUND)
# What columns of `FACE_COLUMNS` hold after `join_labels`, where every face has a label. Others may lack values.
_OF_FACES = {
    column.name: column
    for column in (
        *(_text("face_id", pattern=FACE_ID), _IMAGE, _SUBSET, replace(_ROTATION, filled=True), _text("label"), _AGE),
        *(replace(column, where=None) for column in _FACE_BOX),
        OutputColumn("face_px", "double", limits=(0, _INF)),
        OutputColumn("image_hash", "long"),
        OutputColumn("box_aspect", "double", limits=(0, _INF)),
        OutputColumn("brightness", "double", limits=(0, 1)),
        *(OutputColumn(CHIP.name, CHIP.spark), OutputColumn(PIXELS.name, PIXELS.spark)),
    )
}


def _carried(columns: Iterable[Column]) -> Iterator[OutputColumn]:
    """Yield what columns that travel with a face hold."""
    for column in columns:
        if column is LABEL_INDEX:
            yield OutputColumn(column.name, column.spark, allowed=(0, 1))
        else:
            unknown = OutputColumn(column.name, column.spark, filled=False)
            yield replace(_OF_FACES.get(column.name, unknown), spark=column.spark)


_FACE = (_OF_FACES["face_id"], _IMAGE)
# A face that one of these reasons leaves out may be on a photograph that the release does not list.
_LISTED = Where("reason", ("invalid box", "repeated box", "group", "depiction", "image not listed"), but=True)

# --- the tables


_OF_CLASS = Reference(("mid",), "extract", "classes")
_ORDERED = (("x_min", "x_max"), ("y_min", "y_max"))


def _listings() -> tuple[OutputTable, ...]:
    return (
        OutputTable("extract", "classes", (*_CLASS, OutputColumn("chipped", "boolean"))),  # each delivery lists all
        OutputTable(
            "extract",
            "labels",
            (_IMAGE, *_CLASS, OutputColumn("positive", "boolean"), _SUBSET, _NAMED),
            references=(_OF_CLASS,),
        ),
        OutputTable(
            "extract",
            "images",
            (
                *(_IMAGE, _ROTATION),
                *(_published("images", column, name) for column, name in contract.KEPT_TEXTS.items()),
                *(_SUBSET, _NAMED),
            ),
        ),
        OutputTable(
            "extract",
            HELD,
            # All images with rows are listed, those with a faulty ImageID too.
            (_text("table", allowed=tuple(contract.TABLES)), _text("image_id", filled=False), _NAMED),
            only_with="dated deliveries",
        ),
        OutputTable(
            "extract",
            QUARANTINE,
            (
                *(_text("table", allowed=tuple(contract.TABLES)), _text("file")),
                OutputColumn("line", "long", filled=False, limits=(2, _INF)),
                _text("rule", allowed=tuple(rule.value for rule in Rule)),
                *(_text("column", filled=False), _text("value", filled=False)),
            ),
        ),
    )


def _boxes() -> tuple[OutputTable, ...]:
    return (
        OutputTable(
            "extract",
            "boxes",
            (
                replace(_IMAGE, where=_VALID),
                _published("boxes", "Source", "source"),
                _CLASS[0],
                *_box("boxes", contract.FLAGS, _VALID),
                OutputColumn("valid", "boolean"),
                *_CLASS[1:],
                OutputColumn("chipped", "boolean"),
                *(_SUBSET, _NAMED),
            ),
            ordered=_ORDERED,
            references=(_OF_CLASS,),
        ),
        OutputTable(
            "extract",
            "miap",
            (
                replace(_IMAGE, where=_VALID),
                *_box("miap", contract.MIAP_FLAGS, _VALID),
                OutputColumn("valid", "boolean"),
                *(_published("miap", column, name) for column, name in contract.PRESENTED.items()),
                *(_SUBSET, _NAMED),
            ),
            ordered=_ORDERED,
            only_with="files of MIAP",
        ),
    )


def _faces() -> OutputTable:
    return OutputTable(
        "join_labels",
        "faces",
        (
            *(replace(column, where=_SOUND) for column in _FACE),
            *(_SUBSET, _ROTATION, _published("boxes", "Source", "source")),
            *(column for column in _FACE_BOX if column.name != "is_inside"),
            _text("face_class"),
            _text("reason", allowed=tuple(reason for reason in EXPLANATIONS["join_labels"] if reason != REPLACED)),
            replace(_text("label"), where=_LABELLED, else_null=True),
            _text("source_class", filled=False),
            OutputColumn("source_containment", "double", filled=False, limits=(0, 1)),
            *(_text("miap_label", filled=False), _AGE),
            replace(_NAMED, where=_LABELLED),
        ),
        keys=(Key(("face_id",), Where("reason", ("invalid box", "repeated box"), but=True)),),
        ordered=_ORDERED,
        references=(
            Reference(("image_id", "subset", *EDGES), "extract", "boxes", where=_SOUND),
            Reference(("image_id", "subset"), "extract", "images", where=_LISTED),
        ),
    )


def _judged() -> tuple[OutputTable, ...]:
    label, predicted = _text("label"), _text("predicted")
    return (
        OutputTable(
            "evaluate",
            "predictions",
            (*_FACE, label, predicted, OutputColumn("probability", "float", limits=(0, 1))),
            keys=(Key(("face_id",)),),
            references=(Reference(("face_id", "image_id"), "featurize", "features"),),
        ),
        OutputTable(
            "suspects",
            "scores",
            (
                OutputColumn("rank", "long", limits=(1, _INF)),
                *(*_FACE, _SPLIT, label, predicted),
                OutputColumn("probability", "double", limits=(0.5, 1)),
                OutputColumn("score", "double", limits=(0, 1)),
                *(OutputColumn("suspect", "boolean"), OutputColumn("excluded", "boolean")),
            ),
            keys=(Key(("rank",)), Key(("face_id",))),
            references=(Reference(("face_id", "image_id", "split"), "featurize", "features"),),
        ),
    )


def _predict() -> tuple[OutputTable, ...]:
    size = tuple(OutputColumn(side, "int", limits=(1, _INF)) for side in ("width", "height"))
    found = Where("status", ("classified", "no face"))
    return (
        OutputTable(
            "predict",
            "photographs",
            (
                *(_text("photo"), OutputColumn("bytes", "long", limits=(0, _INF))),
                _text("status", allowed=("classified", "no face", "absent", "unreadable", "too large")),
                *(replace(side, where=found, else_null=True) for side in size),
                OutputColumn("faces", "int", limits=(0, _INF)),
            ),
            keys=(Key(("photo",)),),
        ),
        OutputTable(
            "predict",
            "faces",
            (
                *(_text("photo"), *size, OutputColumn("face", "int", limits=(1, _INF))),
                *(OutputColumn(side, "int", limits=(0, _INF)) for side in ("left", "top", "right", "bottom")),
                OutputColumn("brightness", "double", limits=(0, 1)),
                *(_text("label"), OutputColumn("confidence", "double", limits=(0, 1))),
                OutputColumn("unusual", "string", filled=False),
                OutputColumn(f"probability_{ANY}", "double", limits=(0, 1)),
            ),
            keys=(Key(("photo", "face")),),
            ordered=(("left", "right"), ("top", "bottom")),
            references=(Reference(("photo",), "predict", "photographs"),),
        ),
    )


_CHIPS = OutputTable(
    "chip",
    "chips",
    tuple(_carried((*CHIPS, CHIP))),
    keys=(Key(("face_id",)),),
    references=(Reference(("face_id", "image_id", "subset", "label"), "join_labels", "faces"),),
)
_FEATURES = OutputTable(
    "featurize",
    "features",
    (*_carried((*FEATURES, PIXELS)), _SPLIT),
    keys=(Key(("face_id",)),),
    references=(Reference(("face_id", "image_id"), "chip", "chips"),),
)
_PAIR = (_IMAGE, replace(_IMAGE, name="other_id"), _SPLIT, replace(_SPLIT, name="other_split"))
_DUPLICATES = OutputTable(
    "featurize",
    "duplicates",
    (*_PAIR, OutputColumn("distance", "int", limits=(0, MAX_DISTANCE))),
    references=tuple(Reference((name,), "chip", "chips", ("image_id",)) for name in ("image_id", "other_id")),
)
# By stage and name.
OUTPUTS = {
    (table.stage, table.name): table
    for table in (*_listings(), *_boxes(), _faces(), _CHIPS, _FEATURES, _DUPLICATES, *_judged(), *_predict())
}
