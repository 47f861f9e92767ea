"""Reads run folders. No other module does.

It does not check a run's parameters, because runs of older versions are still shown and still keep their attempts. Code
that works on a run uses `ml.workflow.run.load_run`, which checks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ml import storage
from ml.errors import DataError
from ml.workflow import layout

TRAINING = "training"
B = TypeVar("B", bound=BaseModel)


class RunRecord(BaseModel):
    """The content of `run.json`.

    Attributes:
        run_id: The run's id in Airflow or from the command line.
        flow: The run's flow.
        config: The run's parameters.
        sources: The digests of what the run reads that no stage makes.
        as_of: A training run uses deliveries dated before this time.
        deliveries: The deliveries that a training run uses, oldest first.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    run_id: str
    flow: str = TRAINING
    config: dict[str, Any]
    sources: dict[str, str] = {}
    as_of: str | None = None
    deliveries: list[dict[str, Any]] | None = None


class Pin(BaseModel):
    """The content of a pin: the attempt that a run uses for a stage, and its key."""

    model_config = ConfigDict(frozen=True, strict=True)

    attempt: str
    key: str = ""


def read_run_record(run: str) -> RunRecord | None:
    """Read the `run.json` of a run folder; return None if there is none.

    Raises:
        DataError: The file is damaged.
    """
    return _read(layout.run_file_uri(run), RunRecord)


def read_pin(uri: str) -> Pin | None:
    """Read a pin; return None if there is none.

    Raises:
        DataError: The file is damaged.
    """
    return _read(uri, Pin)


def _read(uri: str, kind: type[B]) -> B | None:
    try:
        return kind.model_validate_json(storage.read_bytes(uri))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise DataError(f"{uri} is damaged: {error}", "Remove the run's folder, and start the run again.") from error


def survey_runs(root: str) -> dict[str, dict[str, storage.Stat]]:
    """Return the files of every run folder: by the folder's name, then by path, the file's state."""
    folders: dict[str, dict[str, storage.Stat]] = {}
    for path, stat in storage.survey(layout.runs_uri(root)).items():
        slug, _, inner = path.partition("/")
        folders.setdefault(slug, {})[inner] = stat
    return folders


def runs_with(root: str, stage: str) -> Iterator[str]:
    """Yield the folder of every run that has pinned a stage."""
    for slug, files in survey_runs(root).items():
        if stage in map(layout.pin_name, files):
            yield layout.run_uri(root, slug)
