"""The folder of a run, read as it was written.

This is the one reader of run folders. It does not check a run's parameters, since runs of older versions are shown and
hold their attempts too; `ml.workflow.run.load_run` checks them, for what works on a run.
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
    """What `run.json` holds.

    Attributes:
        run_id: The run's id as Airflow, or the shell, gave it.
        flow: The flow that it is a run of.
        config: Its parameters.
        sources: The digests of what it reads that no stage makes.
        as_of: The moment before which a training run's deliveries are dated.
        deliveries: The deliveries that a training run sees, oldest first.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    run_id: str
    flow: str = TRAINING
    config: dict[str, Any]
    sources: dict[str, str] = {}
    as_of: str | None = None
    deliveries: list[dict[str, Any]] | None = None


class Pin(BaseModel):
    """What a pin holds: the attempt that a run uses for a stage, and its key."""

    model_config = ConfigDict(frozen=True, strict=True)

    attempt: str
    key: str = ""


def read_run_record(run: str) -> RunRecord | None:
    """Read the `run.json` of a run folder; None where there is none.

    Raises:
        DataError: It is damaged.
    """
    return _read(layout.run_file_uri(run), RunRecord)


def read_pin(uri: str) -> Pin | None:
    """Read a pin; None where there is none.

    Raises:
        DataError: It is damaged.
    """
    return _read(uri, Pin)


def _read(uri: str, kind: type[B]) -> B | None:
    try:
        return kind.model_validate_json(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(f"{uri} is damaged: {error}", "Remove the run's folder, and start the run again.") from error


def survey_runs(root: str) -> dict[str, dict[str, storage.Stat]]:
    """Return every run folder by its name: each file's path in it, with what the file system says of it."""
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
