"""A run: its validated configuration, the deliveries it saw, and the attempts it pinned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ml import storage
from ml.config.parameter import FlowConfig, describe
from ml.config.prediction import PredictionConfig
from ml.config.promotion import ComparisonConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.records import LabelsRecord
from ml.flow.stage import Stage
from ml.flow.table import PREDICT, STAGES, followers
from ml.release.delivery import Delivery
from ml.release.photographs import open_photographs, photograph_name
from ml.release.release import Release, find_release
from ml.workflow.attempt import new_attempt, stays
from ml.workflow.collect import combine
from ml.workflow.manifest import Manifest, commit, load_manifest

C = TypeVar("C", TrainingConfig, PredictionConfig)  # of flows that are made of stages

FLOWS: dict[str, type[FlowConfig]] = {
    "training": TrainingConfig,
    "prediction": PredictionConfig,
    "promotion": ComparisonConfig,
}


def slug(run_id: str, flow: str = "training") -> str:
    """A folder name for a run id, which may hold `:` and `+`.

    Different ids give different names, and the same id, which Airflow gives once a DAG, another one in each flow.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id).strip("-.")[:80]
    told = run_id if flow == "training" else f"{flow}:{run_id}"
    return f"{plain}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class FlowRun(Generic[C]):
    """An opened run of a flow.

    Attributes:
        root: The storage root.
        slug: The run's folder name under `runs/`.
        run_id: The run's id as given, Airflow's for instance.
        config: The validated configuration.
        sources: The digests, when the run was opened, of what it reads that no stage makes (see `Stage.sources`).
        as_of: The moment before which a training run's deliveries are dated, in ISO format.
        deliveries: The deliveries that a training run sees, oldest first.
    """

    root: str
    slug: str
    run_id: str
    config: C
    sources: dict[str, str]
    as_of: str | None = None
    deliveries: tuple[Delivery, ...] = ()

    @property
    def uri(self) -> str:
        """The run folder."""
        return storage.join(self.root, "runs", self.slug)

    def release(self: FlowRun[TrainingConfig], delivery: Delivery) -> Release:
        """The files of one of a training run's deliveries."""
        return find_release(delivery.uri, self.config.photographs)

    def read_photograph(self: FlowRun[TrainingConfig], subset: str, image_id: str) -> bytes:
        """One photograph, encoded, from the newest delivery that holds it.

        Raises:
            FileNotFoundError: None of the run's deliveries does.
        """
        places = [self.config.photographs] if self.config.photographs else [d.uri for d in reversed(self.deliveries)]
        for place in places:
            try:
                return open_photographs(place).read(subset, image_id)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{photograph_name(subset, image_id)} is in no delivery of run {self.run_id}")

    def key(self, stage: Stage) -> str:
        """The key of a stage in this run; the input stages must be pinned."""
        if stage.by_delivery:
            return stage.collected_key({delivery.name: self.part_key(stage, delivery) for delivery in self.deliveries})
        inputs = {name: self.pinned(name).key for name in stage.inputs}
        return stage.key(self.config, inputs, self.sources)

    def part_key(self, stage: Stage, delivery: Delivery) -> str:
        """The key of what a stage done by delivery does for one."""
        return stage.part_key(self.config, self.sources_of(stage, delivery))

    def sources_of(self, stage: Stage, delivery: Delivery) -> dict[str, str]:
        """The digests of what a stage done by delivery reads of one, by the names in `Stage.sources`."""
        found = {"delivery": delivery.name, "tables": delivery.tables, "photographs": delivery.photographs}
        if "faces" in stage.sources:
            found["faces"] = self.pinned("join_labels").record(LabelsRecord).asked[delivery.name].digest
        return {name: found[name] for name in stage.sources}

    def key_uri(self, stage: Stage) -> str:
        """The folder of a stage's key."""
        return storage.join(self.root, "stages", stage.name, self.key(stage))

    def pinned(self, stage_name: str) -> Manifest:
        """The manifest of the attempt that this run uses for a stage.

        Raises:
            DataError: The stage has not been done in this run.
        """
        uri = self._pin_uri(stage_name)
        if not storage.exists(uri):
            raise DataError(
                f"Stage {stage_name} has not been done in run {self.run_id}.", f"Run stage {stage_name} first."
            )
        return load_manifest(storage.read_json(uri)["attempt"])

    def find(self, stage: Stage) -> Manifest | None:
        """The stage's finished attempt, pinned in the run, or None where the work must be done.

        A stage that the run was told to redo counts as done only by an attempt that the run itself has pinned. One done
        by delivery is done where its part for each delivery is.
        """
        if not stage.by_delivery:
            return self._find(stage, self.key(stage))
        parts = {delivery.name: self.find_part(stage, delivery) for delivery in self.deliveries}
        done = {name: part for name, part in parts.items() if part is not None}
        if len(done) < len(parts):
            return None
        found = self._find(stage, self.key(stage))
        if found is None or found.parts != {name: part.uri for name, part in done.items()}:
            found = self.collect(stage, done, new_attempt())
            self.pin(found)
        return found

    def collect(self, stage: Stage, parts: Mapping[str, Manifest], attempt: str) -> Manifest:
        """Commit what the run has of a stage done by delivery, as one attempt that refers to its parts."""
        key_uri = self.key_uri(stage)
        manifest = combine(
            stage,
            key=self.key(stage),
            uri=storage.join(key_uri, "attempts", attempt),
            config=self.config.part(stage.fields),
            inputs={name: self.pinned(name).uri for name in stage.inputs},
            parts=parts,
        )
        commit(key_uri, manifest)
        return manifest

    def find_part(self, stage: Stage, delivery: Delivery) -> Manifest | None:
        """As `find`, what a stage done by delivery has done for one of them."""
        return self._find(stage, self.part_key(stage, delivery), delivery)

    def _find(self, stage: Stage, key: str, delivery: Delivery | None = None) -> Manifest | None:
        pin = self._pin_uri(stage.name, delivery)
        forced = self.config.force is not None and stage.name in followers(self.config.force)
        key_uri = storage.join(self.root, "stages", stage.name, key)
        attempt = _pointed(pin)
        if not attempt.startswith(key_uri + "/"):
            attempt = ""
        if not attempt and not forced and (name := _pointed(storage.join(key_uri, "current.json"))):
            attempt = storage.join(key_uri, "attempts", name)
        if not attempt or not stays(attempt):
            return None
        try:
            manifest = load_manifest(attempt)
        except DataError:
            if stays(attempt):  # damaged, which somebody has to hear
                raise
            return None  # a clean-up has just removed it
        if not manifest.whole():
            return None
        self.pin(manifest, delivery)
        if not stays(attempt):  # maintenance had begun to remove it before it was pinned
            storage.remove(pin)
            return None
        return manifest

    def _pin_uri(self, stage_name: str, delivery: Delivery | None = None) -> str:
        name = f"{stage_name}.{delivery.name}" if delivery else stage_name
        return storage.join(self.uri, "pins", f"{name}.json")

    def pin(self, manifest: Manifest, delivery: Delivery | None = None) -> None:
        """Record that this run uses an attempt, of a stage or of its part for one delivery."""
        content = {"attempt": manifest.uri, "key": manifest.key}
        storage.write_json(self._pin_uri(manifest.stage, delivery), content)

    def pins(self) -> dict[str, Manifest]:
        """The manifests of all stages done so far in this run, in the order of the flow."""
        done = storage.list_files(storage.join(self.uri, "pins"))
        return {name: self.pinned(name) for name in (*STAGES, PREDICT.name) if f"{name}.json" in done}

    def write(self) -> None:
        """Write the run folder; what a run of that id had pinned before is forgotten."""
        storage.remove(storage.join(self.uri, "pins"))
        (flow,) = (name for name, kind in FLOWS.items() if type(self.config) is kind)
        content = {
            "run_id": self.run_id,
            "flow": flow,
            "config": self.config.model_dump(mode="json"),
            "sources": self.sources,
            "as_of": self.as_of,
            "deliveries": [delivery.model_dump(mode="json") for delivery in self.deliveries],
        }
        storage.write_json(storage.join(self.uri, "run.json"), content)


Run = FlowRun[TrainingConfig]  # of the training flow


def _pointed(uri: str) -> str:
    """The attempt that a pin or a key's pointer names; empty where there is none."""
    try:
        return str(storage.read_json(uri)["attempt"])
    except FileNotFoundError:
        return ""


def load_run(uri: str) -> FlowRun[Any]:
    """Read a run folder, of whatever flow.

    Raises:
        ConfigurationError: There is no run there, or it is of another version of this program.
    """
    uri = storage.normalise(uri)
    try:
        content = storage.read_json(storage.join(uri, "run.json"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no run at {uri}.", "Open one with `python -m ml open-run`.") from error
    root, _, name = uri.rpartition("/runs/")
    try:
        kind = FLOWS[content["flow"]]
        config = kind(**content["config"])
        deliveries = tuple(Delivery.model_validate(delivery) for delivery in content["deliveries"])
        return FlowRun(root, name, content["run_id"], config, content["sources"], content["as_of"], deliveries)
    except (KeyError, ValidationError) as error:
        told = f"it lacks {error}." if isinstance(error, KeyError) else describe(error, kind)
        raise ConfigurationError(
            f"{uri}/run.json is of another version of the program: {told}", "Start a new run."
        ) from error
