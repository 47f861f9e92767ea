"""Type the rows of a checked block, keep those of the configured classes, and count all of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml.release.checks import UNKNOWN, Checked, codes_of
from ml.release.contract import EDGES, FLAGS, KEPT_TEXTS, MIAP_FLAGS, PRESENTED, Rule
from ml.release.layout import ALL
from ml.release.miap import PERSON
from ml.release.miap import UNKNOWN as UNKNOWN_PRESENTATION
from ml.release.parse import Mask, Missing, Parsed


def flag_column(flag: str) -> str:
    """Return the name of a flag's typed column, such as `is_group_of` for `IsGroupOf`."""
    return "is_" + flag.removeprefix("Is").removesuffix("Of").lower().replace("group", "group_of")


@dataclass(frozen=True)
class Classes:
    """The described classes, in the order of the file.

    Attributes:
        mids: Their MIDs.
        names: Their names.
        labels: The label that a class stands for, None if it stands for none.
        chipped: Whether the class is the one to chip.
    """

    mids: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    chipped: tuple[bool, ...]

    @property
    def wanted(self) -> Mask:
        """A mask of the configured classes."""
        return np.array(
            [chipped or label is not None for chipped, label in zip(self.chipped, self.labels, strict=True)]
        )


@dataclass
class Counts:
    """The counts of a table's rows, or of a part of them. Those that do not concern the table are 0.

    Attributes:
        rows: All lines after the header.
        quarantined: Rows that break a rule.
        by_rule: Rows by broken rule.
        missing: Missing values by column.
        kept: Rows of the configured classes; for MIAP, of persons.
        kept_invalid: Kept boxes with an invalid value.
        invalid: Boxes with an invalid value.
        chipped: Boxes of the class to chip.
        unknown_class: Rows of a class that is not described.
        without_class: Rows in which no class can be read.
        no_verdict: Image-level labels whose confidence is neither 0 nor 1.
        repeated: Image-level labels that repeat an earlier one of the same block.
        rotation_unknown: Images without a known rotation.
        turned: Images with a rotation other than 0.
        other_classes: MIAP boxes of other classes than persons; image-level labels of classes that are not described
            and need not be.
        no_gender_presentation: MIAP boxes of persons without one of MIAP's gender presentations.
        no_age_presentation: MIAP boxes of persons without one of MIAP's age presentations.
    """

    rows: int = 0
    quarantined: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    missing: dict[str, Missing] = field(default_factory=dict)
    kept: int = 0
    kept_invalid: int = 0
    invalid: int = 0
    chipped: int = 0
    unknown_class: int = 0
    without_class: int = 0
    no_verdict: int = 0
    repeated: int = 0
    rotation_unknown: int = 0
    turned: int = 0
    other_classes: int = 0
    no_gender_presentation: int = 0
    no_age_presentation: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another part of the table."""
        for column in dict.fromkeys([*self.missing, *other.missing]):  # a file may lack a column: all is NULL in it
            mine = self.missing.get(column, Missing(self.rows, 0, 0))
            self.missing[column] = mine.plus(other.missing.get(column, Missing(other.rows, 0, 0)))
        self.by_rule.update(other.by_rule)
        for name in (entry.name for entry in dataclasses.fields(self) if entry.type == "int"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


Verdicts = dict[str, tuple[int, int]]  # positive and negative images by MID


@dataclass
class Typed:
    """What a block leaves.

    Attributes:
        rows: The kept rows.
        counts: The counts of all rows.
        verdicts: The images verified as positive and as negative, by MID; only for image-level labels.
    """

    rows: pa.Table
    counts: Counts
    verdicts: Verdicts = field(default_factory=dict)


def type_block(table: str, parsed: Parsed, checked: Checked, classes: Classes, subset: str, delivery: str) -> Typed:
    """Type, keep and count the rows of a block.

    Args:
        table: The block's table.
        parsed: The block.
        checked: What the checks found in it.
        classes: The described classes.
        subset: The subset that the file holds, or `ALL`.
        delivery: The delivery's name.
    """
    if table == "images":
        typed = type_images(parsed, checked, of_all_subsets=subset == ALL)
    else:
        typed = {"labels": type_labels, "boxes": type_boxes, "miap": type_miap}[table](parsed, checked, classes)
    counts, heading = typed.counts, checked.broken(rule=Rule.HEADER)
    counts.rows = parsed.rows + parsed.wrong_lines
    counts.quarantined = int(checked.broken().sum()) + parsed.wrong_lines
    counts.by_rule = Counter(
        {rule: int(checked.broken(rule=rule).sum()) for rule in dict.fromkeys(f.rule for f in checked.faults)}
    )
    if parsed.wrong_lines:
        counts.by_rule[Rule.FIELDS] = parsed.wrong_lines
    counts.missing = parsed.missing
    if "LabelName" in parsed.columns:
        unknown = checked.broken(rule=Rule.CLASS)
        counts.unknown_class = int(unknown.sum())
        nameless = (checked.classes == UNKNOWN) & ~unknown & ~checked.other_classes
        counts.without_class = int((nameless | heading).sum()) + parsed.wrong_lines
    for name, value in (("subset", subset), ("delivery", delivery)):
        if name not in typed.rows.column_names:
            typed.rows = typed.rows.append_column(name, _constant(value, len(typed.rows)))
    return typed


def type_labels(parsed: Parsed, checked: Checked, classes: Classes) -> Typed:
    """Type the image-level labels, and keep the rows of the configured classes that have a verdict.

    `positive` is true where a person verified the class as present, false where verified as absent.
    """
    no_verdict = checked.broken(("Confidence",)) & ~checked.broken(rule=Rule.HEADER)
    whole = ~checked.broken(("ImageID", "Confidence"))
    confidence = parsed.columns["Confidence"]
    positive = (confidence.fill_null(0) if confidence.null_count else confidence).to_numpy() == 1
    counted = whole & ~checked.other_classes  # nothing names the others
    verdicts, repeated = _count_images(parsed.columns["LabelName"], checked.image_ids, positive, counted)
    kept = np.flatnonzero(whole & _wanted(checked, classes))
    mid, name, label = _class_columns(checked.classes[kept], classes)
    rows = pa.table(
        {
            "image_id": parsed.columns["ImageID"].take(pa.array(kept)),
            "mid": mid,
            "name": name,
            "label": label,
            "positive": pa.array(positive[kept]),
        }
    )
    counts = Counts(
        kept=len(kept),
        no_verdict=int(no_verdict.sum()),
        repeated=repeated,
        other_classes=int(checked.other_classes.sum()),
    )
    return Typed(rows, counts, verdicts)


def _count_images(
    labels: pa.DictionaryArray, images: npt.NDArray[np.uint64], positive: Mask, whole: Mask
) -> tuple[Verdicts, int]:
    """Count the images of each class by verdict, and the repeated rows.

    An image counts once for a class. With both verdicts it counts as negative.
    """
    codes = codes_of(labels)
    used = np.flatnonzero(whole & (codes >= 0))
    if not len(used):
        return {}, 0
    total, ids = len(labels.dictionary), images[used]
    begins = np.append(True, ids[1:] != ids[:-1])  # the rows of an image lie together in most files
    number = np.unique(ids[begins], return_inverse=True)[1]
    keys = np.sort((number[np.cumsum(begins) - 1] * total + codes[used]) * 2 + positive[used])
    pairs = keys >> 1
    first = np.append(True, pairs[1:] != pairs[:-1])  # a negative verdict comes first
    code, verdict = pairs[first] % total, (keys[first] & 1).astype(np.bool_)
    ayes = np.bincount(code[verdict], minlength=total).tolist()
    noes = np.bincount(code[~verdict], minlength=total).tolist()
    mids = labels.dictionary.to_pylist()
    by_class = {mid: (aye, no) for mid, aye, no in zip(mids, ayes, noes, strict=True) if aye or no}
    return by_class, len(keys) - len(code)


def type_boxes(parsed: Parsed, checked: Checked, classes: Classes) -> Typed:
    """Type the boxes of the configured classes; `valid` is false where ImageID, a coordinate or a flag is invalid."""
    wanted = _wanted(checked, classes)
    kept = np.flatnonzero(wanted)
    columns, invalid = _box_columns(parsed, checked, kept, FLAGS)
    mid, name, label = _class_columns(checked.classes[kept], classes)
    chipped = np.array(classes.chipped)[checked.classes[kept]]
    rows = pa.table(
        {
            "image_id": columns.pop("image_id"),
            "source": parsed.columns["Source"].take(pa.array(kept)),
            "mid": mid,
            **columns,
            "name": name,
            "label": label,
            "chipped": pa.array(chipped),
        }
    )
    counts = Counts(
        kept=len(kept),
        kept_invalid=int(invalid[kept].sum()),
        invalid=int(invalid.sum()),
        chipped=int(chipped.sum()),
    )
    return Typed(rows, counts)


def type_miap(parsed: Parsed, checked: Checked, classes: Classes) -> Typed:
    """Type MIAP's boxes of persons like other boxes, with the same names for the flags.

    A gender or age presentation that is not one of MIAP's values is unknown.
    """
    described = np.isin(classes.mids, [PERSON])
    person = np.append(described, False)[checked.classes]
    kept = np.flatnonzero(person)
    columns, invalid = _box_columns(parsed, checked, kept, MIAP_FLAGS)
    unknown = {}
    for published, column in PRESENTED.items():
        unknown[column] = checked.broken((published,))[kept]
        words = parsed.columns[published].take(pa.array(kept)).cast(pa.string())
        if unknown[column].any():
            words = pc.if_else(pa.array(unknown[column]), UNKNOWN_PRESENTATION, words)
        columns[column] = words
    counts = Counts(
        kept=len(kept),
        kept_invalid=int(invalid[kept].sum()),
        invalid=int(invalid.sum()),
        other_classes=parsed.rows + parsed.wrong_lines - len(kept),
        no_gender_presentation=int(unknown["gender_presentation"].sum()),
        no_age_presentation=int(unknown["age_presentation"].sum()),
    )
    return Typed(pa.table(columns), counts)


def _box_columns(
    parsed: Parsed, checked: Checked, kept: npt.NDArray[np.intp], flags: tuple[str, ...]
) -> tuple[dict[str, pa.Array], Mask]:
    """Return the columns of the kept boxes, and a mask of the invalid ones among all."""
    invalid = checked.broken(("ImageID", *EDGES, *flags)) & ~checked.broken(rule=Rule.HEADER)
    rows = pa.array(kept)
    columns = {"image_id": parsed.columns["ImageID"].take(rows)}
    for edge in EDGES:
        columns[edge[0].lower() + "_" + edge[1:].lower()] = parsed.columns[edge].take(rows)
    for flag in flags:
        columns[flag_column(flag)] = _unless(checked.broken((flag,))[kept], parsed.columns[flag].take(rows)).cast(
            pa.int8()
        )
    columns["valid"] = pa.array(~invalid[kept])
    return columns, invalid


def type_images(parsed: Parsed, checked: Checked, of_all_subsets: bool) -> Typed:
    """Type the images and keep what their license requires; `rotation` is NULL unless it is 0, 90, 180 or 270.

    A row of a list of all subsets is kept only if it tells its subset.
    """
    kept = np.flatnonzero(~checked.broken(("ImageID", "Subset") if of_all_subsets else ("ImageID",)))
    rows = pa.array(kept)
    rotation = pa.nulls(len(kept), pa.int32())
    if "Rotation" in parsed.columns:
        rotation = _unless(checked.broken(("Rotation",))[kept], parsed.columns["Rotation"].take(rows)).cast(pa.int32())
    columns = {"image_id": parsed.columns["ImageID"].take(rows), "rotation": rotation}
    columns |= {column: parsed.columns[published].take(rows) for published, column in KEPT_TEXTS.items()}
    if of_all_subsets:
        columns["subset"] = parsed.columns["Subset"].take(rows)
    counts = Counts(
        kept=len(kept),
        rotation_unknown=rotation.null_count,
        turned=int(pc.sum(pc.greater(rotation, 0)).as_py() or 0),
    )
    return Typed(pa.table(columns), counts)


def held_images(parsed: Parsed, table: str, delivery: str) -> pa.Table:
    """Return the images that have rows in a block, each once."""
    images = pc.unique(parsed.columns["ImageID"])
    return pa.table(
        {"table": _constant(table, len(images)), "image_id": images, "delivery": _constant(delivery, len(images))}
    )


def _unless(wrong: Mask, values: pa.Array) -> pa.Array:
    """Return the values, NULL where they are wrong."""
    return pc.if_else(pa.array(wrong), pa.scalar(None, values.type), values) if wrong.any() else values


def _wanted(checked: Checked, classes: Classes) -> Mask:
    """Return a mask of the rows of a configured class."""
    return np.append(classes.wanted, False)[checked.classes]


def _class_columns(indices: npt.NDArray[np.int32], classes: Classes) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return the columns mid, name and label of rows by the index of their class."""
    labels = list(dict.fromkeys(label for label in classes.labels if label is not None))
    of_class = np.array([-1 if label is None else labels.index(label) for label in classes.labels], np.int32)
    codes = of_class[indices]
    return (
        pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(classes.mids, pa.string())),
        pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(classes.names, pa.string())),
        pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(labels, pa.string())),
    )


def _constant(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))
