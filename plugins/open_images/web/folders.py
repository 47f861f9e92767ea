"""Runs and their attempts for the pages, including runs of older versions and partly removed ones."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

from ml import storage
from ml.errors import DataError
from ml.flow.table import ALL_STAGES
from ml.workflow import layout
from ml.workflow.folder import TRAINING, RunRecord, read_pin, read_run_record, survey_runs
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import slug

log = logging.getLogger(__name__)
PREDICTION = "prediction"  # the flow that trains nothing


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        root: The storage root.
        slug: The folder's name under `runs/`.
        record: The content of `run.json`.
    """

    root: str
    slug: str
    record: RunRecord

    @property
    def run_id(self) -> str:
        """The run's id from Airflow or the shell."""
        return self.record.run_id

    def manifest(self, stage: str) -> Manifest | None:
        """Return the manifest of the attempt that the run pins for a stage, or None if it is missing."""
        if stage not in ALL_STAGES:
            return None
        uri = layout.pin_uri(layout.run_uri(self.root, self.slug), stage)
        try:
            pin = read_pin(uri)
        except DataError as error:
            log.warning("%s: %s", uri, error)
            return None
        return self.attempt(stage, pin.attempt) if pin else None

    def attempt(self, stage: str, uri: str) -> Manifest | None:
        """Return the manifest of an attempt of a stage; None if it is missing or not one of the stage's own."""
        if ".." in uri or not uri.startswith(layout.stage_uri(self.root, stage) + "/"):
            return None
        try:
            return _manifest(uri)
        except DataError as error:
            log.warning("%s: %s", uri, error)
            return None

    def manifests(self) -> dict[str, Manifest]:
        """Return the manifests of all stages that the run pins, in the order of the flow."""
        found = {stage: self.manifest(stage) for stage in ALL_STAGES}
        return {stage: manifest for stage, manifest in found.items() if manifest}


def find_run(root: str, run_id: str, flow: str = TRAINING) -> RunFolder | None:
    """Return the folder of a run of a flow, or None if there is none.

    A folder that another flow made for the same run id does not count.

    Raises:
        DataError: The folder's `run.json` is damaged.
    """
    folder = read_run(root, slug(run_id, flow), flow)
    return folder if folder and folder.run_id == run_id else None


def list_runs(root: str) -> dict[str, str]:
    """Return the names of all run folders of all flows, each with a text that changes when the folder changes."""
    return {
        name: "\n".join(f"{path} {stat.state}" for path, stat in sorted(files.items()))
        for name, files in survey_runs(storage.normalize(root)).items()
    }


def read_run(root: str, name: str, flow: str = TRAINING) -> RunFolder | None:
    """Return the run folder of that name, or None if it does not belong to the flow.

    Raises:
        DataError: The folder's `run.json` is damaged.
    """
    root = storage.normalize(root)
    uri = layout.run_uri(root, name)
    record = read_run_record(uri)
    if record is None or record.flow != flow:
        return None
    if flow != PREDICTION and not all(isinstance(record.config.get(name), str) for name in ("network", "chip_class")):
        raise DataError(f"{layout.run_file_uri(uri)} lacks the network or the class.", "Start the run again.")
    return RunFolder(root, name, record)


@functools.lru_cache(maxsize=1024)
def _manifest(attempt: str) -> Manifest:
    """Read an attempt's manifest; it never changes, so it is cached."""
    return load_manifest(attempt)
