"""What the stages extract, explore and join_labels state about their output."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ml.flow.record import Record


class NullCounts(Record):
    """Values of one column that say nothing: NULL (an empty field), empty or blank text, and NaN."""

    null: int
    empty: int
    nan: int


class LabelCounts(Record):
    """Image-level labels, one an image and class.

    Attributes:
        repeated: Labels that several rows give.
        no_verdict: Labels whose confidence is neither 0 nor 1.
        unknown_class: Labels of a class that the release does not name.
    """

    repeated: int
    no_verdict: int = Field(alias="no verdict")
    unknown_class: int = Field(alias="unknown class")


class BoxCounts(Record):
    """Boxes of a release.

    Attributes:
        unknown_class: Boxes of a class that the release does not name.
        invalid: Boxes with a coordinate or a flag that cannot be.
        kept: Boxes of the configured classes.
        kept_invalid: Those of them that are invalid.
        chipped: Boxes of the class to chip.
    """

    unknown_class: int = Field(alias="unknown class")
    invalid: int
    kept: int
    kept_invalid: int = Field(alias="kept invalid")
    chipped: int


class ImageCounts(Record):
    """Images of a release by what is known of their rotation."""

    rotation_unknown: int = Field(alias="rotation unknown")
    turned: int


class MiapCounts(Record):
    """MIAP's boxes.

    Attributes:
        subsets: The subsets for which the release has MIAP.
        other_classes: Boxes of another class than MIAP's person.
        kept: Boxes of persons.
        kept_invalid: Those of them that are invalid.
        no_gender_presentation: Those whose gender presentation is none of MIAP's words.
        no_age_presentation: Those whose age presentation is none of MIAP's words.
    """

    subsets: tuple[str, ...]
    other_classes: int = Field(alias="other classes")
    kept: int
    kept_invalid: int = Field(alias="kept invalid")
    no_gender_presentation: int = Field(alias="no gender_presentation")
    no_age_presentation: int = Field(alias="no age_presentation")


class ExtractRecord(Record):
    """What stage extract counts in one delivery, or in all of a run's deliveries together.

    Attributes:
        rows: Rows by table.
        nulls: Values that say nothing, by table and column.
        labels: Image-level labels.
        boxes: Boxes.
        images: Images.
        miap: MIAP's boxes; None where the release has none.
    """

    rows: dict[str, int]
    nulls: dict[str, dict[str, NullCounts]]
    labels: LabelCounts
    boxes: BoxCounts
    images: ImageCounts
    miap: MiapCounts | None = None

    def json_values(self) -> dict[str, Any]:
        """Return the JSON values, without `miap` where the release has none: then deliveries that have it add up."""
        values = super().json_values()
        return values if self.miap else {name: value for name, value in values.items() if name != "miap"}


class ClassCount(Record):
    """Images verified to hold (`positive`), and not to hold (`negative`), a class."""

    mid: str
    name: str
    negative: int
    positive: int


class VerifiedImages(Record):
    """Images verified for the class to chip and for a class of a label.

    Attributes:
        label: The label.
        all_positive: Images whose labels are all verified as present.
        with_a_negative: Images with a label that is verified as absent.
    """

    label: str
    all_positive: int = Field(alias="all positive")
    with_a_negative: int = Field(alias="with a negative")


class FaceSizes(Record):
    """Faces by the longer side of their box, in bins between edges in percent of the photograph's side."""

    edges: tuple[int, ...] = Field(alias="edges, per cent of the photograph's side")
    faces: tuple[int, ...]


class FlagCounts(Record):
    """Boxes of one source by the value of one flag: 1 (yes), 0 (no) and -1 (unknown)."""

    source: str
    flag: str
    yes: int = Field(alias="1")
    no: int = Field(alias="0")
    unknown: int = Field(alias="-1")


class Analyses(Record):
    """The analyses of a release.

    Attributes:
        top_classes: The classes with the most images.
        verified_images: The images that are good and bad to learn from, by label.
        faces_per_image: The number of images by the number of faces on them.
        face_sizes: The faces by size.
        boxes_by_source: The boxes by source and flag.
    """

    top_classes: tuple[ClassCount, ...] = Field(alias="top classes")
    verified_images: tuple[VerifiedImages, ...] = Field(alias="verified images")
    faces_per_image: dict[int, int] = Field(alias="faces per image")
    face_sizes: FaceSizes = Field(alias="face sizes")
    boxes_by_source: tuple[FlagCounts, ...] = Field(alias="boxes by source")


class ExploreRecord(Analyses):
    """What stage explore finds, with the URIs of its plots by name."""

    plots: dict[str, str]


class Credit(Record):
    """What the license of a photograph asks to be shown with it."""

    image_id: str
    author: str | None = None
    title: str | None = None
    landing_url: str | None = None
    license: str | None = None


class Exploration(Analyses):
    """The content of `explore.json`: the analyses and the photographs on the contact sheet."""

    photographs_shown: tuple[Credit, ...] = Field(alias="photographs shown")


class Agreement(Record):
    """Faces that a label strategy labels, by whether MIAP gives the same label."""

    agree: int
    disagree: int
    miap_unknown: int = Field(alias="miap unknown")


class AskedFaces(Record):
    """The faces that are to be cut from one delivery's photographs: how many, and the digest of what they ask."""

    faces: int
    digest: str


class LabelsRecord(Record):
    """What stage join_labels counts.

    Attributes:
        faces: All faces, labeled or not.
        labelled: Labeled faces by label.
        flags_unknown: Faces by the flag that is unknown for them.
        miap: Agreement with MIAP by subset and label strategy; None where MIAP cannot be asked.
        asked: The faces to cut by delivery.
    """

    faces: int
    labelled: dict[str, int]
    flags_unknown: dict[str, int] = Field(alias="flags unknown")
    miap: dict[str, dict[str, Agreement]] | None
    asked: dict[str, AskedFaces]


class ChipsRecord(Record):
    """The photographs that chips were cut from.

    Attributes:
        images: Number of photographs of labelled faces.
        photograph_faults: How many of them could not be used, by what is wrong with them.
    """

    images: int
    photograph_faults: dict[str, int] = Field(alias="photograph faults")
