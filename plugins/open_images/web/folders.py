"""Reads what runs left in storage: their folders, and the attempts that these pin.

Everything is read as it was written, without the checks of the flow's own configuration: the pages show runs of older
versions too, and runs of which a part was cleaned away.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any

from ml import storage
from ml.errors import DataError
from ml.flow.table import STAGES
from ml.storage import modified
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import slug

log = logging.getLogger(__name__)
FLOW = "training"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        root: The storage root.
        slug: The folder's name below `runs/`.
        content: What `run.json` holds: `run_id`, `flow`, `config`, `sources` and, where the run knows them, `as_of`
            and `deliveries`.
    """

    root: str
    slug: str
    content: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The run's id as Airflow, or the shell, gave it."""
        return str(self.content["run_id"])

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of the attempt that the run pins for a stage; None where it pins none, or one that is gone."""
        if stage not in STAGES:
            return None
        uri = storage.join(self.root, "runs", self.slug, "pins", f"{stage}.json")
        try:
            attempt = str(storage.read_json(uri)["attempt"])
            # A pin leads nowhere but to the stage's own attempts.
            if ".." in attempt or not attempt.startswith(storage.join(self.root, "stages", stage) + "/"):
                return None
            return _manifest(attempt)
        except FileNotFoundError:
            return None
        except (DataError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: %s", uri, error)
            return None

    def manifests(self) -> dict[str, Manifest]:
        """The manifests of all stages that the run pins, in the order of the flow."""
        found = {stage: self.manifest(stage) for stage in STAGES}
        return {stage: manifest for stage, manifest in found.items() if manifest}


def find_run(root: str, run_id: str, flow: str = FLOW) -> RunFolder | None:
    """The folder of a run of a flow, or None where there is none.

    A folder that another flow made for a run of the same id is not taken for it.

    Raises:
        DataError: It is damaged.
    """
    folder = read_run(root, slug(run_id, flow), flow)
    return folder if folder and folder.run_id == run_id else None


def list_runs(root: str) -> dict[str, str]:
    """The names of all run folders, of whatever flow, each with a text that changes whenever anything in it does."""
    fs, path = storage.filesystem(storage.join(storage.normalise(root), "runs"))
    if not fs.exists(path):
        return {}
    versions: dict[str, list[str]] = {}
    for name, info in sorted(fs.find(path, detail=True).items()):
        run, _, file = name[len(path.rstrip("/")) + 1 :].partition("/")
        versions.setdefault(run, []).append(f"{file} {info['size']} {modified(info)}")
    return {run: "\n".join(files) for run, files in versions.items()}


def read_run(root: str, name: str, flow: str = FLOW) -> RunFolder | None:
    """The folder of that name, or None where it is none of the flow.

    Raises:
        DataError: It is damaged.
    """
    root = storage.normalise(root)
    uri = storage.join(root, "runs", name, "run.json")
    try:
        content = storage.read_json(uri)
        if content.get("flow", FLOW) != flow:
            return None
        needed = (content["run_id"], content["config"]["network"], content["config"]["chip_class"])
        if not all(isinstance(value, str) for value in needed):
            raise TypeError("a value that is no text")
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{uri} is damaged: {error!r}", "Start the run again.") from error
    return RunFolder(root, name, content)


@functools.lru_cache(maxsize=1024)
def _manifest(attempt: str) -> Manifest:
    """An attempt's manifest, which never changes."""
    return load_manifest(attempt)
