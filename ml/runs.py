"""A run: its validated configuration, the state of the release it saw, and the attempts it pinned."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Generic

from ml import storage
from ml.config import C, FlowConfig, PredictionConfig, RunConfig, parse_config
from ml.errors import ConfigurationError, DataError
from ml.flow import PREDICT, STAGES, followers
from ml.miap import check_miap
from ml.release import (
    Release,
    check_classes,
    check_columns,
    find_release,
    photographs_digest,
    read_classes,
    tables_digest,
)
from ml.stages import Manifest, Stage, load_manifest, stays

FLOWS: dict[str, type[FlowConfig]] = {"training": RunConfig, "prediction": PredictionConfig}


def slug(run_id: str) -> str:
    """A folder name for a run id, which may hold `:` and `+`; different ids give different names."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id).strip("-.")[:80]
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class FlowRun(Generic[C]):
    """An opened run of a flow.

    Attributes:
        root: The storage root.
        slug: The run's folder name under `runs/`.
        run_id: The run's id as given, Airflow's for instance.
        config: The validated configuration.
        sources: The digests, when the run was opened, of what it reads that no stage makes (see `Stage.sources`).
    """

    root: str
    slug: str
    run_id: str
    config: C
    sources: dict[str, str]

    @property
    def uri(self) -> str:
        """The run folder."""
        return storage.join(self.root, "runs", self.slug)

    def release(self: FlowRun[RunConfig]) -> Release:
        """The files of a training run's release."""
        return find_release(self.config.release, self.config.photographs)

    def key(self, stage: Stage) -> str:
        """The key of a stage in this run; the input stages must be pinned."""
        inputs = {name: self.pinned(name).key for name in stage.inputs}
        return stage.key(self.config, inputs, self.sources)

    def key_uri(self, stage: Stage) -> str:
        """The folder of a stage's key."""
        return storage.join(self.root, "stages", stage.name, self.key(stage))

    def pinned(self, stage_name: str) -> Manifest:
        """The manifest of the attempt that this run uses for a stage.

        Raises:
            DataError: The stage has not been done in this run.
        """
        uri = storage.join(self.uri, "pins", f"{stage_name}.json")
        if not storage.exists(uri):
            raise DataError(
                f"Stage {stage_name} has not been done in run {self.run_id}.", f"Run stage {stage_name} first."
            )
        return load_manifest(storage.read_json(uri)["attempt"])

    def find(self, stage: Stage) -> Manifest | None:
        """The stage's finished attempt, pinned in the run, or None where the work must be done.

        A stage that the run was told to redo counts as done only by an attempt that the run itself has pinned.
        """
        pin = storage.join(self.uri, "pins", f"{stage.name}.json")
        forced = self.config.force is not None and stage.name in followers(self.config.force)
        key_uri = self.key_uri(stage)
        if storage.exists(pin):
            attempt = str(storage.read_json(pin)["attempt"])
            if not attempt.startswith(key_uri + "/"):
                attempt = ""
        else:
            attempt = ""
        pointer = storage.join(key_uri, "current.json")
        if not attempt and not forced and storage.exists(pointer):
            attempt = storage.join(key_uri, "attempts", storage.read_json(pointer)["attempt"])
        if not attempt or not storage.exists(storage.join(attempt, "manifest.json")):
            return None
        manifest = load_manifest(attempt)
        if not manifest.whole():
            return None
        self.pin(manifest)
        if not stays(attempt):  # maintenance had begun to remove it before it was pinned
            storage.remove(pin)
            return None
        return manifest

    def pin(self, manifest: Manifest) -> None:
        """Record that this run uses an attempt."""
        uri = storage.join(self.uri, "pins", f"{manifest.stage}.json")
        storage.write_json(uri, {"attempt": manifest.uri, "key": manifest.key})

    def pins(self) -> dict[str, Manifest]:
        """The manifests of all stages done so far in this run, in the order of the flow."""
        done = storage.list_files(storage.join(self.uri, "pins"))
        return {name: self.pinned(name) for name in (*STAGES, PREDICT.name) if f"{name}.json" in done}

    def write(self) -> None:
        """Write the run folder; what a run of that id had pinned before is forgotten."""
        storage.remove(storage.join(self.uri, "pins"))
        (flow,) = (name for name, kind in FLOWS.items() if isinstance(self.config, kind))
        content = {"run_id": self.run_id, "flow": flow, "config": self.config.model_dump(mode="json")}
        storage.write_json(storage.join(self.uri, "run.json"), {**content, "sources": self.sources})


Run = FlowRun[RunConfig]  # of the training flow


def open_run(root: str, run_id: str, values: dict[str, Any]) -> Run:
    """Validate the parameters, look at the release, and write the run folder.

    Opening a run again starts it afresh: what it had pinned is forgotten, what was done is found by its keys.

    Raises:
        ConfigurationError: A parameter is wrong or a class is unknown.
        DataError: The release is absent or not as it must be.
    """
    config = parse_config(values)
    root = storage.normalise(root)
    release = find_release(config.release, config.photographs)
    check_columns(release)
    check_classes(config, read_classes(release))
    check_miap(config, release)
    sources = {
        "tables": tables_digest(release, storage.join(root, "digests")),
        "photographs": photographs_digest(release),
    }
    # Absolute from here on: the jobs may run in another folder.
    resolved: dict[str, Any] = {"release": release.uri}
    if config.photographs:
        resolved["photographs"] = release.photographs
    run = Run(root, slug(run_id), run_id, config.model_copy(update=resolved), sources)
    run.write()
    return run


def load_run(uri: str) -> FlowRun[Any]:
    """Read a run folder, of whatever flow.

    Raises:
        ConfigurationError: There is no run there.
    """
    uri = storage.normalise(uri)
    try:
        content = storage.read_json(storage.join(uri, "run.json"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no run at {uri}.", "Open one with `python -m ml open-run`.") from error
    root, _, name = uri.rpartition("/runs/")
    config = FLOWS[content.get("flow", "training")](**content["config"])
    return FlowRun(root, name, content["run_id"], config, content["sources"])
