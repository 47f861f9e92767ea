"""The base class of the typed records that stages write to their manifests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base class of what a stage records about its output, written to and read from its manifest as JSON.

    A field whose JSON name is not a Python name has an alias; the constructor accepts both. Unknown fields, written by
    another version of the program, are ignored.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def json_values(self) -> dict[str, Any]:
        """Return the record as JSON values under their names in the manifest."""
        return self.model_dump(mode="json", by_alias=True)
