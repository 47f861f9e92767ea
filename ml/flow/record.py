"""The base of the typed records that stages hand on in their manifests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of what a stage states about its output: written to its manifest as JSON, read from there with types.

    A field whose name in the JSON is no Python name has an alias; both are accepted when a record is made. Fields that
    a record does not know, those of another version of the program, are ignored.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def json_values(self) -> dict[str, Any]:
        """Return the record as the JSON values that a manifest holds, under their names there."""
        return self.model_dump(mode="json", by_alias=True)
