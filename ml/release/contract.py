"""The data contract: what each source table must hold, in one table from which checks and documentation derive.

`ml.release.checks` checks the rules. `docs/data-contract.md` is rendered from this table by `scripts/data_contract.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ml.errors import DataError
from ml.photographs.source import SUBSETS
from ml.release.layout import ALL
from ml.release.miap import AGES, PRESENTATIONS
from ml.release.release import Release, header


class Rule(enum.StrEnum):
    """A rule that a row can break. The value is its name in the quarantine table, in records and in messages."""

    FIELDS = "wrong number of fields"
    HEADER = "header inside the file"
    ENCODING = "not UTF-8"
    MISSING = "missing value"
    IMAGE_ID = "not 16 hex digits"
    NUMBER = "not a number"
    RANGE = "outside the range"
    ALLOWED = "not an allowed value"
    ORDER = "edges in the wrong order"
    CLASS = "class not described"
    REPEATED = "repeated key"


class Kind(enum.Enum):
    """The type of a column; the value describes it."""

    IMAGE_ID = "16 lower-case hex digits"
    CLASS = "MID of a described class"
    ANY_CLASS = "MID of any class"
    NUMBER = "number"
    FLAG = "flag"
    WORD = "word"
    TEXT = "text"


@dataclass(frozen=True)
class SourceColumn:
    """A published column.

    Attributes:
        name: The name in the file's header.
        kind: The type.
        required: Every file must have the column.
        filled: Every row must have a value.
        limits: The smallest and the largest number allowed.
        allowed: The words or numbers allowed; empty if all are.
    """

    name: str
    kind: Kind
    required: bool = True
    filled: bool = False
    limits: tuple[float, float] | None = None
    allowed: tuple[str, ...] | tuple[int, ...] = ()


@dataclass(frozen=True)
class SourceTable:
    """A source table.

    Attributes:
        name: The table's name.
        columns: The published columns. Files may have more, in any order.
        ordered: Pairs of columns of which the first must be less than the second.
        unique: The columns whose values identify a row; a repeated row is quarantined.
        repeatable: The columns whose values usually identify a row; repeated rows are counted and allowed.
    """

    name: str
    columns: tuple[SourceColumn, ...]
    ordered: tuple[tuple[str, str], ...] = ()
    unique: tuple[str, ...] = ()
    repeatable: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the columns that every file must have."""
        return tuple(column.name for column in self.columns if column.required)


EDGES = ("XMin", "XMax", "YMin", "YMax")
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
MIAP_FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepictionOf", "IsInsideOf")
# The typed names of the texts and words that extract keeps of `images` and `miap`.
KEPT_TEXTS = {"OriginalLandingURL": "landing_url", "License": "license", "Author": "author", "Title": "title"}
PRESENTED = {"GenderPresentation": "gender_presentation", "AgePresentation": "age_presentation"}
IMAGE_ID = SourceColumn("ImageID", Kind.IMAGE_ID, filled=True)
CLASS = SourceColumn("LabelName", Kind.CLASS, filled=True)
SUBSET = SourceColumn("Subset", Kind.WORD, allowed=SUBSETS)
ORDERED = (("XMin", "XMax"), ("YMin", "YMax"))


def _edges() -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(name, Kind.NUMBER, filled=True, limits=(0, 1)) for name in EDGES)


def _flags(names: tuple[str, ...]) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(name, Kind.FLAG, filled=True, allowed=(-1, 0, 1)) for name in names)


TABLES: dict[str, SourceTable] = {
    table.name: table
    for table in (
        SourceTable(
            "labels",
            (
                IMAGE_ID,
                SourceColumn("Source", Kind.WORD),
                CLASS,
                SourceColumn("Confidence", Kind.NUMBER, filled=True, allowed=(0, 1)),
            ),
            repeatable=("ImageID", "LabelName"),
        ),
        SourceTable(
            "boxes",
            (
                IMAGE_ID,
                SourceColumn("Source", Kind.WORD),
                CLASS,
                SourceColumn("Confidence", Kind.NUMBER, limits=(0, 1)),
                *_edges(),
                *_flags(FLAGS),
            ),
            ordered=ORDERED,
        ),
        SourceTable(
            "images",
            (
                IMAGE_ID,
                SUBSET,
                SourceColumn("OriginalURL", Kind.TEXT, required=False),
                SourceColumn("OriginalLandingURL", Kind.TEXT),
                SourceColumn("License", Kind.WORD),
                SourceColumn("AuthorProfileURL", Kind.TEXT, required=False),
                SourceColumn("Author", Kind.TEXT),
                SourceColumn("Title", Kind.TEXT),
                SourceColumn("OriginalSize", Kind.NUMBER, required=False, limits=(0, float("inf"))),
                SourceColumn("OriginalMD5", Kind.TEXT, required=False),
                SourceColumn("Thumbnail300KURL", Kind.TEXT, required=False),
                # Added in 2018; empty where it is unknown.
                SourceColumn("Rotation", Kind.NUMBER, required=False, allowed=(0, 90, 180, 270)),
            ),
            unique=("ImageID",),
        ),
        SourceTable(
            "miap",
            (
                IMAGE_ID,
                CLASS,
                SourceColumn("Confidence", Kind.NUMBER, required=False, limits=(0, 1)),
                *_edges(),
                *_flags(MIAP_FLAGS),
                SourceColumn("GenderPresentation", Kind.WORD, filled=True, allowed=PRESENTATIONS),
                SourceColumn("AgePresentation", Kind.WORD, filled=True, allowed=AGES),
            ),
            ordered=ORDERED,
        ),
    )
}


def _with(table: SourceTable, changed: SourceColumn) -> SourceTable:
    """Return a table's contract with another one for one of its columns."""
    return replace(table, columns=tuple(changed if c.name == changed.name else c for c in table.columns))


# The published image-level labels of all classes name thousands of classes that the boxable ones do not include.
LABELS_OF_ALL_CLASSES = _with(TABLES["labels"], replace(CLASS, kind=Kind.ANY_CLASS))
# In a list of the images of all subsets, nothing else tells the subset of a row.
IMAGES_OF_ALL_SUBSETS = _with(TABLES["images"], replace(SUBSET, filled=True))


def contract_of(table: str, subset: str, all_classes: bool) -> SourceTable:
    """Return the contract of a file.

    Args:
        table: The file's table.
        subset: The subset that it holds, or `ml.release.layout.ALL`.
        all_classes: It has image-level labels of all classes.
    """
    if table == "labels" and all_classes:
        return LABELS_OF_ALL_CLASSES
    if table == "images" and subset == ALL:
        return IMAGES_OF_ALL_SUBSETS
    return TABLES[table]


QUARANTINE = "quarantine"  # the table of extract that lists the values that break a rule

# References that other stages check, where both tables are at hand.
REFERENCES = (
    ("labels, boxes, miap", "LabelName", "a row of the class descriptions", f"`extract`: {Rule.CLASS}"),
    ("boxes", "ImageID", "a row of images", "`join_labels`: the reason `image not listed`"),
)

# The rows by table and subset, as the pages of Open Images V5 state them. They hold for the files of V5 to V7 that
# `ml.release.layout` marks as counted.
PUBLISHED_ROWS: dict[str, dict[str, int]] = {
    "labels": {"train": 8_996_795, "validation": 256_707, "test": 772_776},
    "boxes": {"train": 14_610_229, "validation": 303_980, "test": 937_327},
    "images": {"train": 1_743_042, "validation": 41_620, "test": 125_436},
}
PUBLISHED_SHARE = 0.9  # a table with this share of the published rows is taken for the published one


def differences(rows: dict[str, dict[str, int]]) -> list[tuple[str, str, int, int]]:
    """Compare row counts with the published ones, for tables that hold nearly as many rows as the published ones.

    Args:
        rows: Rows by table and subset.

    Returns:
        Table, subset, rows and published rows of each difference.
    """
    found = []
    for table, published in PUBLISHED_ROWS.items():
        counted = rows.get(table, {})
        if sum(counted.values()) >= PUBLISHED_SHARE * sum(published.values()):
            found += [(table, s, counted.get(s, 0), n) for s, n in published.items() if counted.get(s, 0) != n]
    return found


def check_columns(release: Release) -> None:
    """Check the header of every table.

    Raises:
        DataError: A required column is missing.
    """
    for table, by_subset in release.tables.items():
        for uri in by_subset.values():
            found = header(uri)
            if missing := [name for name in TABLES[table].required if name not in found]:
                raise DataError(
                    f"{uri} lacks the column {', '.join(missing)} (it has {', '.join(found)}).",
                    "Use the published file, including its header.",
                )
