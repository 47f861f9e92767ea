"""The records of stages extract, join_labels and chip."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ml.flow.record import Record


class NullCounts(Record):
    """Missing values of one column: NULL (an empty field), empty or blank text, and NaN."""

    null: int
    empty: int
    nan: int


class LabelCounts(Record):
    """Counts of the rows of image-level labels.

    Attributes:
        repeated: Rows that repeat the image and the class of an earlier row. Rows of one image lie together in a file,
            and only rows that are read together, in blocks of 16 MB, are compared.
        no_verdict: Rows whose confidence is neither 0 nor 1.
        unknown_class: Rows of a class that the release does not name.
        other_classes: Rows of a class that the release need not name, from a file with the labels of all classes.
    """

    repeated: int
    no_verdict: int = Field(alias="no verdict")
    unknown_class: int = Field(alias="unknown class")
    other_classes: int = Field(0, alias="other classes")


class BoxCounts(Record):
    """Counts of a release's boxes.

    Attributes:
        unknown_class: Boxes of a class that the release does not name.
        invalid: Boxes with an invalid coordinate or flag.
        kept: Boxes of the configured classes.
        kept_invalid: Invalid boxes of the configured classes.
        chipped: Boxes of the class to chip.
    """

    unknown_class: int = Field(alias="unknown class")
    invalid: int
    kept: int
    kept_invalid: int = Field(alias="kept invalid")
    chipped: int


class ImageCounts(Record):
    """Counts of a release's images whose rotation is unknown or not zero."""

    rotation_unknown: int = Field(alias="rotation unknown")
    turned: int


class MiapCounts(Record):
    """Counts of MIAP's boxes.

    Attributes:
        subsets: The subsets for which the release has MIAP files.
        other_classes: Boxes of classes other than MIAP's person.
        kept: Boxes of persons.
        kept_invalid: Invalid boxes of persons.
        no_gender_presentation: Boxes of persons whose gender presentation is not one of MIAP's values.
        no_age_presentation: Boxes of persons whose age presentation is not one of MIAP's values.
    """

    subsets: tuple[str, ...]
    other_classes: int = Field(alias="other classes")
    kept: int
    kept_invalid: int = Field(alias="kept invalid")
    no_gender_presentation: int = Field(alias="no gender_presentation")
    no_age_presentation: int = Field(alias="no age_presentation")


class QuarantineCounts(Record):
    """Counts of a table's rows that break the data contract.

    Attributes:
        rows: Rows that break any rule.
        by_rule: Rows by rule; a row that breaks several rules counts for each.
    """

    rows: int
    by_rule: dict[str, int] = Field(alias="by rule")


class PublishedDifference(Record):
    """A table whose number of rows differs from the published one.

    Attributes:
        table: The table.
        subset: The subset.
        rows: Its rows here.
        published: Its rows in the published data set.
    """

    table: str
    subset: str
    rows: int
    published: int


class ExtractRecord(Record):
    """The counts of stage extract for one delivery, or for all of a run's deliveries together.

    Attributes:
        rows: Rows by table.
        nulls: Missing values by table and column.
        labels: Image-level labels.
        boxes: Boxes.
        images: Images.
        quarantined: Rows that break the data contract, by table.
        unlike_published: Row counts that differ from the published ones, if the release looks like the published one.
        miap: MIAP's boxes; None if the release has none.
    """

    rows: dict[str, int]
    nulls: dict[str, dict[str, NullCounts]]
    labels: LabelCounts
    boxes: BoxCounts
    images: ImageCounts
    quarantined: dict[str, QuarantineCounts] = Field(default_factory=dict)
    unlike_published: tuple[PublishedDifference, ...] = Field((), alias="unlike published")
    miap: MiapCounts | None = None

    def json_values(self) -> dict[str, Any]:
        """Return the JSON values, without `miap` if it is None, so that only deliveries with MIAP are added up."""
        values = super().json_values()
        return values if self.miap else {name: value for name, value in values.items() if name != "miap"}


class ClassCount(Record):
    """Counts of images in which a class is verified as present (`positive`) or absent (`negative`)."""

    mid: str
    name: str
    negative: int
    positive: int


class Agreement(Record):
    """Counts of the faces that a strategy labels, by whether MIAP gives the same label."""

    agree: int
    disagree: int
    miap_unknown: int = Field(alias="miap unknown")


class AskedFaces(Record):
    """The faces to cut from one delivery's photographs: their number, and the digest of their rows."""

    faces: int
    digest: str


class VerifiedPairs(Record):
    """Counts of the pairs of an image and a configured class that have several rows of image-level labels.

    Attributes:
        repeated: Pairs with several rows.
        contradicted: Pairs whose rows have both verdicts, of which absent wins.
    """

    repeated: int
    contradicted: int


class LabelsRecord(Record):
    """The counts of stage join_labels.

    Attributes:
        faces: All faces, labeled or not.
        labelled: Labeled faces by label.
        flags_unknown: Faces with an unknown flag, by flag.
        miap: Agreement with MIAP by subset and label strategy; None if MIAP is not available.
        pairs: The verified pairs of image and class with several rows; None if an older version did not count them.
        asked: The faces to cut, by delivery.
    """

    faces: int
    labelled: dict[str, int]
    flags_unknown: dict[str, int] = Field(alias="flags unknown")
    miap: dict[str, dict[str, Agreement]] | None
    pairs: VerifiedPairs | None = Field(None, alias="verified pairs")
    asked: dict[str, AskedFaces]


class ChipsRecord(Record):
    """The photographs that chips were cut from.

    Attributes:
        images: Number of photographs with labeled faces.
        photograph_faults: Number of photographs that could not be used, by fault.
        photograph_warnings: Number of photographs that were used although the decoder warned of an oddity.
    """

    images: int
    photograph_faults: dict[str, int] = Field(alias="photograph faults")
    photograph_warnings: int = Field(0, alias="photograph warnings")
