"""The reference of a run: the earlier run that its data are compared with, fixed when the run is opened."""

from __future__ import annotations

from pydantic import ValidationError

from ml import storage
from ml.errors import DataError
from ml.flow.profile import DataProfile
from ml.flow.record import Record
from ml.workflow import layout

NO_REFERENCE = ""  # its id in a run's sources


class Reference(Record):
    """The reference of a run.

    It holds a copy of the profile, because a clean-up may remove the earlier run before this one compares.

    Attributes:
        attempt: The attempt of stage evaluate that wrote the profile. It never changes, so its id stands for it in
            keys.
        champion: The number of its registered version if it is the champion; None for the newest earlier run.
        profile: The profile of the earlier run's data.
    """

    attempt: str
    champion: int | None = None
    profile: DataProfile

    @property
    def id(self) -> str:
        """The id of the attempt, which does not depend on where the storage root is mounted."""
        return layout.attempt_id(self.attempt) or self.attempt


def write_reference(run: str, reference: Reference | None) -> None:
    """Write the reference into a run folder, or remove that of an earlier run with this id."""
    uri = layout.reference_uri(run)
    if reference:
        storage.write_json(uri, reference.json_values())
    else:
        storage.remove(uri)


def read_reference(run: str) -> Reference | None:
    """Read the reference of a run; return None if it has none.

    Raises:
        DataError: The file is damaged.
    """
    uri = layout.reference_uri(run)
    try:
        return Reference.model_validate_json(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(f"{uri} is damaged: {error}", "Remove the run's folder, and start the run again.") from error


def read_profile(attempt: str) -> DataProfile | None:
    """Read the profile that an attempt of stage evaluate wrote; return None if it has none or is gone."""
    try:
        return DataProfile.model_validate_json(storage.read_bytes(layout.profile_uri(attempt)))
    except (FileNotFoundError, ValidationError):  # an older version wrote it, or a clean-up removed it
        return None
