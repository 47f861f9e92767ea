"""What stage chip states about its chips in its manifest."""

from __future__ import annotations

from pydantic import Field

from ml.flow.record import Record


class ChipsRecord(Record):
    """The photographs that chips were cut from.

    Attributes:
        images: Number of photographs of labelled faces.
        photograph_faults: How many of them could not be used, by what is wrong with them.
    """

    images: int
    photograph_faults: dict[str, int] = Field(alias="photograph faults")
