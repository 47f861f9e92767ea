"""The strategies that label faces: by person box, by image, or by MIAP box.

A strategy is a pure function over the tables of whole images, and a row of `STRATEGIES` with the reasons that it may
give. It returns one row per face: `label`, `verdict` (the reason for having no label, NULL if there is one), the source
of the label, `source_class` and `source_containment`, and MIAP's `age_presentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.config.training import TrainingConfig
from ml.features.columns import EDGES
from ml.release.miap import UNKNOWN, presentation_labels
from spark_jobs.lookups import Index, find, first_reason, key, mapped, pairs, ranked, take, true

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
VERDICTS = pa.schema(
    [
        ("label", pa.string()),
        ("verdict", pa.string()),
        ("source_class", pa.string()),
        ("source_containment", pa.float64()),
        ("age_presentation", pa.string()),
    ]
)


@dataclass(frozen=True)
class LabelSettings:
    """What labelling depends on.

    Attributes:
        chip_class: The class of the boxes that are faces.
        strategy: The strategy that gives the labels.
        containment: The share of a face that a person box must contain.
        labels: The labels, in order.
        classes: The label of each class.
        presentations: The label of each of MIAP's gender presentations; empty if the labels do not match them.
        subsets: The subsets with MIAP boxes. If there are any, all strategies are applied, to be compared.
        deliveries: The names of the run's deliveries, oldest first.
    """

    chip_class: str
    strategy: str
    containment: float
    labels: tuple[str, ...]
    classes: Mapping[str, str]
    presentations: Mapping[str, str]
    subsets: tuple[str, ...]
    deliveries: tuple[str, ...]

    @classmethod
    def of(cls, config: TrainingConfig, subsets: tuple[str, ...], deliveries: tuple[str, ...]) -> LabelSettings:
        """Collect the settings of a run.

        Args:
            config: The run's configuration.
            subsets: The subsets for which the release has MIAP boxes.
            deliveries: The names of the run's deliveries, oldest first.
        """
        presentations = presentation_labels(config)
        return cls(
            chip_class=config.chip_class,
            strategy=config.label_strategy,
            containment=config.containment,
            labels=tuple(config.label_order),
            classes=config.label_classes,
            presentations=presentations or {},
            subsets=subsets if presentations else (),
            deliveries=deliveries,
        )


@dataclass(frozen=True)
class Strategy:
    """A strategy.

    Attributes:
        label: Labels faces without a reason, from the tables `boxes`, `labels` and `miap` of their images.
        reasons: The reasons that it may give for having no label, in order of precedence.
    """

    label: Callable[[pa.Table, Mapping[str, pa.Table], LabelSettings], pa.Table]
    reasons: tuple[str, ...]


def label_by_box(faces: pa.Table, tables: Mapping[str, pa.Table], settings: LabelSettings) -> pa.Table:
    """Label each face by the person boxes that contain it.

    A box qualifies if it is of a label's class, is neither a group nor a depiction (a flag of -1, unknown, does not
    disqualify it), and contains at least the configured share of the face. If boxes of two labels qualify, the face
    gets no label. Otherwise the smallest box is the source, unless its class is a verified negative on the image.
    """
    boxes, labels = tables["boxes"], tables["labels"]
    people = boxes.filter(pa.array(one_person(boxes) & true(boxes.column("label").is_valid())))
    found = find_sources(faces, people, ("name", "mid"), settings.containment)
    vetoes = labels.filter(pc.invert(labels.column("positive")))
    source = pa.table({"image_id": faces.column("image_id"), "mid": take(people.column("mid"), found.person)})
    vetoed = find(key(source, "image_id", "mid"), key(vetoes, "image_id", "mid")) >= 0
    verdict = first_reason(
        ("no person box", found.person < 0),
        ("two labels", found.labels > 1),
        ("contradicted by a verified negative", vetoed),
    )
    return verdicts(found.label, verdict, take(people.column("name"), found.person), found.containment)


def label_by_image(faces: pa.Table, tables: Mapping[str, pa.Table], settings: LabelSettings) -> pa.Table:
    """Give each face the verified label of its image, or no label if both labels are verified."""
    labels = tables["labels"]
    given = labels.filter(pa.array(true(labels.column("positive")) & true(labels.column("label").is_valid())))
    values, codes = ranked(given.column("label"))
    face, row = pairs(faces.column("image_id"), given.column("image_id"))
    label, count = _one_label(len(faces), face, codes[row])
    verdict = first_reason(("no image-level label", count == 0), ("two image-level labels", count > 1))
    return verdicts(take(_chunked(values), label), verdict)


def label_by_miap(faces: pa.Table, tables: Mapping[str, pa.Table], settings: LabelSettings) -> pa.Table:
    """Label each face by the gender presentation of the MIAP person box that contains it.

    Boxes qualify as in `label_by_box`. If boxes of both presentations qualify, the face gets no label. Otherwise the
    smallest box is the source and also gives the age presentation. If its gender presentation is unknown, the face gets
    no label.
    """
    people = tables["miap"].filter(pa.array(one_person(tables["miap"])))
    people = people.append_column("label", mapped(people.column("gender_presentation"), settings.presentations))
    found = find_sources(faces, people, ("gender_presentation", "age_presentation"), settings.containment)
    gender = take(people.column("gender_presentation"), found.person)
    verdict = first_reason(
        ("no MIAP person box", found.person < 0),
        ("two labels", found.labels > 1),
        ("MIAP presentation unknown", true(pc.equal(gender, UNKNOWN))),
    )
    age = take(people.column("age_presentation"), np.where(found.labels > 1, -1, found.person))
    return verdicts(found.label, verdict, gender, found.containment, age)


# The order of the rows is the order of the reasons in the ledger.
STRATEGIES = {
    "box": Strategy(label_by_box, ("no person box", "two labels", "contradicted by a verified negative")),
    "image": Strategy(label_by_image, ("no image-level label", "two image-level labels")),
    "miap": Strategy(label_by_miap, ("no MIAP person box", "two labels", "MIAP presentation unknown")),
}


def verdicts(
    label: pa.ChunkedArray,
    verdict: pa.Array,
    source_class: pa.ChunkedArray | None = None,
    source_containment: Floats | None = None,
    age_presentation: pa.ChunkedArray | None = None,
) -> pa.Table:
    """Build the result of a strategy; a face with a verdict has no label."""
    label = pc.if_else(verdict.is_valid(), pa.scalar(None, pa.string()), label)
    columns: dict[str, object] = {"label": label, "verdict": verdict, "source_class": source_class}
    if source_containment is not None:
        columns["source_containment"] = pa.array(source_containment, mask=np.isnan(source_containment))
    columns["age_presentation"] = age_presentation
    empty = pa.nulls(len(verdict))
    filled = [empty if columns.get(name) is None else columns[name] for name in VERDICTS.names]
    return pa.table(filled, names=VERDICTS.names).cast(VERDICTS)


def one_person(boxes: pa.Table) -> Flags:
    """Return which boxes are valid and, as far as the flags are known, neither a group nor a depiction."""
    no_group, no_depiction = (true(pc.not_equal(boxes.column(flag), 1)) for flag in ("is_group_of", "is_depiction"))
    return true(boxes.column("valid")) & no_group & no_depiction


@dataclass(frozen=True)
class Sources:
    """The person boxes that contain each face.

    Attributes:
        labels: The number of labels of the boxes.
        label: The first of them; NULL if there is none.
        person: The place of the smallest box among the people; -1 if no box contains the face.
        containment: The share of the face that the smallest box contains; NaN if there is none.
    """

    labels: Index
    label: pa.ChunkedArray
    person: Index
    containment: Floats


def find_sources(faces: pa.Table, people: pa.Table, about: tuple[str, ...], least: float) -> Sources:
    """Find the person boxes that contain each face.

    Args:
        faces: The faces to label.
        people: Person boxes with a column `label`, which may be NULL.
        about: The columns that make the choice among boxes of equal area reproducible, before their edges.
        least: Share of the face that a box must contain, in [0, 1].
    """
    face, person = pairs(key(faces, "image_id", "subset"), key(people, "image_id", "subset"))
    boxes = edges(people)
    held = containment(edges(faces)[:, face], boxes[:, person])
    kept = held >= least
    face, person, held = face[kept], person[kept], held[kept]
    # A face in one box needs no order, and most are.
    several = np.flatnonzero(np.bincount(face, minlength=len(faces))[face] > 1)
    ranks = [ranked(people.column(name))[1] for name in about]
    columns = (face, *(column[person] for column in (area(boxes), *ranks, *boxes)), held)
    ordered = np.arange(len(face))
    ordered[several] = several[np.lexsort([column[several] for column in reversed(columns)])]
    person, held = person[ordered], held[ordered]
    first = np.flatnonzero(np.diff(face, prepend=-1))
    smallest, share = np.full(len(faces), -1), np.full(len(faces), np.nan)
    smallest[face[first]], share[face[first]] = person[first], held[first]
    values, codes = ranked(people.column("label"))
    label, count = _one_label(len(faces), face, codes[person])
    return Sources(count, take(_chunked(values), label), smallest, share)


def edges(boxes: pa.Table) -> Floats:
    """Return the edges of boxes: four rows, in the order of `EDGES`."""
    return np.stack([np.asarray(boxes.column(edge).to_numpy(), np.float64) for edge in EDGES])


def area(boxes: Floats) -> Floats:
    """Return the areas of boxes, as a share of the photograph."""
    x_min, x_max, y_min, y_max = boxes
    return np.asarray((x_max - x_min) * (y_max - y_min))


def containment(faces: Floats, people: Floats) -> Floats:
    """Return the share of each face's area that the person box beside it contains, in [0, 1]."""

    def overlap(low: int, high: int) -> Floats:
        reach = np.minimum(faces[high], people[high]) - np.maximum(faces[low], people[low])
        return np.asarray(np.maximum(0.0, reach))

    return np.asarray(overlap(0, 1) * overlap(2, 3) / area(faces))


def _one_label(faces: int, face: Index, codes: Index) -> tuple[Index, Index]:
    """Return for each face the lowest code, -1 if there is none, and 0, 1 or 2 for none, one or several codes."""
    coded = codes >= 0
    face, codes = face[coded], codes[coded]
    highest, lowest = np.full(faces, -1), np.full(faces, np.iinfo(np.int64).max)
    np.maximum.at(highest, face, codes)
    np.minimum.at(lowest, face, codes)
    return np.minimum(lowest, highest), (highest >= 0).astype(np.int64) + (lowest < highest)


def _chunked(values: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([values])
