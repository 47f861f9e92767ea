"""The records of stage explore."""

from __future__ import annotations

from pydantic import Field

from ml.flow.record import Record
from ml.flow.records import ClassCount


class VerifiedImages(Record):
    """Counts of images verified both for the class to chip and for a class of a label.

    Attributes:
        label: The label.
        all_positive: Images in which every verified class is present.
        with_a_negative: Images in which a verified class is absent.
    """

    label: str
    all_positive: int = Field(alias="all positive")
    with_a_negative: int = Field(alias="with a negative")


class FaceSizes(Record):
    """A histogram of the faces by the longer side of their box; `edges` are in percent of the photograph's side."""

    edges: tuple[int, ...] = Field(alias="edges, per cent of the photograph's side")
    faces: tuple[int, ...]


class FlagCounts(Record):
    """Counts of the boxes of one source by the value of one flag: 1 (yes), 0 (no) and -1 (unknown)."""

    source: str
    flag: str
    yes: int = Field(alias="1")
    no: int = Field(alias="0")
    unknown: int = Field(alias="-1")


class Analyses(Record):
    """The analyses of a release.

    Attributes:
        top_classes: The classes with the most images.
        verified_images: The verified images of each label.
        faces_per_image: The number of images by their number of faces.
        face_sizes: The faces by size.
        boxes_by_source: The boxes by source and flag.
    """

    top_classes: tuple[ClassCount, ...] = Field(alias="top classes")
    verified_images: tuple[VerifiedImages, ...] = Field(alias="verified images")
    faces_per_image: dict[int, int] = Field(alias="faces per image")
    face_sizes: FaceSizes = Field(alias="face sizes")
    boxes_by_source: tuple[FlagCounts, ...] = Field(alias="boxes by source")


class BalanceRow(Record):
    """The faces of one slice, by label."""

    name: str
    faces: dict[str, int]

    @property
    def total(self) -> int:
        """The faces of all labels."""
        return sum(self.faces.values())


class Balance(Record):
    """The labels of the faces that were cut out, by the values of one column.

    Attributes:
        column: The column, as in the tables.
        title: The criterion, as shown to people.
        rows: The slices that have faces, in order.
    """

    column: str
    title: str
    rows: tuple[BalanceRow, ...]


class SheetRecord(Record):
    """What a sheet of sample photographs shows.

    Attributes:
        name: The sheet's name in links to it.
        title: Its title.
        count: The number of faces or pairs that the sheet is a sample of.
        shown: The ids of the faces shown, or the image ids of the pairs; always the same ones for the same tables.
        not_shown: The photographs of the sample that cannot be read.
    """

    name: str
    title: str
    count: int
    shown: tuple[str, ...]
    not_shown: tuple[str, ...] = Field(alias="not shown")


class Credit(Record):
    """The credit that a photograph's license requires to be shown with it."""

    image_id: str
    author: str | None = None
    title: str | None = None
    landing_url: str | None = None
    license: str | None = None


class ExploreRecord(Analyses):
    """The results of stage explore.

    Attributes:
        balance: The labels of the faces, by subset, split, size, occlusion and age presentation.
        plots: The URIs of its plots by name.
        report: The URI of its page.
    """

    balance: tuple[Balance, ...]
    plots: dict[str, str]
    report: str


class Exploration(Analyses):
    """The content of `explore.json`.

    Attributes:
        balance: As in the record.
        sheets: The sheets of sample photographs on the page.
        photographs_shown: The photographs on the contact sheet.
        photographs_on_the_page: The photographs on the page.
    """

    balance: tuple[Balance, ...]
    sheets: tuple[SheetRecord, ...]
    photographs_shown: tuple[Credit, ...] = Field(alias="photographs shown")
    photographs_on_the_page: tuple[Credit, ...] = Field(alias="photographs on the page")
