"""A run: its validated configuration, the deliveries it uses, and the attempts it has pinned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ml import storage
from ml.config.comparison import PairConfig
from ml.config.parameter import FlowConfig, describe
from ml.config.prediction import PredictionConfig
from ml.config.promotion import ComparisonConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.records import LabelsRecord
from ml.flow.stage import Stage
from ml.flow.table import ALL_STAGES, downstream_of
from ml.release.delivery import Delivery
from ml.workflow import layout
from ml.workflow.attempt import is_committed, new_attempt
from ml.workflow.collect import combine
from ml.workflow.folder import RunRecord, read_pin, read_run_record
from ml.workflow.manifest import Manifest, commit, load_manifest
from ml.workflow.reference import NO_REFERENCE
from ml.workflow.views import RunView

C = TypeVar("C", TrainingConfig, PredictionConfig)  # the flows that have stages

FLOWS: dict[str, type[FlowConfig]] = {
    "training": TrainingConfig,
    "prediction": PredictionConfig,
    "promotion": ComparisonConfig,
    "comparison": PairConfig,
}


def slug(run_id: str, flow: str = "training") -> str:
    """Return a folder name for a run id, which may contain `:` and `+`.

    Names are unique per run id and flow, because Airflow's run ids are unique only within a DAG.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id).strip("-.")[:80]
    unique = run_id if flow == "training" else f"{flow}:{run_id}"
    return f"{plain}-{hashlib.sha256(unique.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class FlowRun(Generic[C]):
    """An opened run of a flow.

    Attributes:
        root: The storage root.
        slug: The run's folder name under `runs/`.
        run_id: The run's id in Airflow or from the command line.
        config: The validated configuration.
        sources: The digests of what the run reads that no stage makes (see `Stage.sources`), from when it was opened.
        as_of: A training run uses deliveries dated before this time, in ISO format.
        deliveries: The deliveries that a training run uses, oldest first.
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
        return layout.run_uri(self.root, self.slug)

    @property
    def view(self) -> RunView:
        """The view of the run for the bodies of stages."""
        return RunView(
            root=self.root,
            slug=self.slug,
            run_id=self.run_id,
            sources=self.sources,
            deliveries=self.deliveries,
            photographs=self.config.photographs,
            photograph_columns=self.config.photograph_columns,
            as_of=self.as_of or "",
            parameters=self.config.model_dump(mode="json"),
        )

    def key(self, stage: Stage) -> str:
        """Return the key of a stage in this run; the input stages must be pinned."""
        if stage.by_delivery:
            return stage.collected_key({delivery.name: self.part_key(stage, delivery) for delivery in self.deliveries})
        inputs = {name: self.pinned(name).key for name in stage.inputs}
        return stage.key(self.config, inputs, self.sources)

    def part_key(self, stage: Stage, delivery: Delivery) -> str:
        """Return the key of a stage's part for one delivery."""
        return stage.part_key(self.config, self.sources_of(stage, delivery))

    def sources_of(self, stage: Stage, delivery: Delivery) -> dict[str, str]:
        """Return the digests of what a stage reads of one delivery, by the names in `Stage.sources`."""
        found = {"delivery": delivery.name, "tables": delivery.tables, "photographs": delivery.photographs}
        if "faces" in stage.sources:
            found["faces"] = self.pinned("join_labels").record(LabelsRecord).asked[delivery.name].digest
        return {name: found[name] for name in stage.sources}

    def key_uri(self, stage: Stage) -> str:
        """Return the folder of a stage's key."""
        return layout.key_uri(self.root, stage.name, self.key(stage))

    def forces(self, stage: Stage) -> bool:
        """Return whether the run does the stage's work even if another run has done it."""
        return self.config.force is not None and stage.name in downstream_of(self.config.force)

    def pinned(self, stage_name: str) -> Manifest:
        """Return the manifest of the attempt that this run uses for a stage.

        Raises:
            DataError: The run has not done the stage.
        """
        pin = read_pin(self._pin_uri(stage_name))
        if pin is None:
            raise DataError(
                f"Stage {stage_name} has not been done in run {self.run_id}.", f"Run stage {stage_name} first."
            )
        return load_manifest(pin.attempt)

    def has_pinned(self, stage_name: str) -> bool:
        """Return whether the run has done a stage."""
        return storage.exists(self._pin_uri(stage_name))

    def find_or_adopt(self, stage: Stage) -> Manifest | None:
        """Return the stage's finished attempt, or None where the work must be done.

        If another run made the attempt, this run pins it. A stage done by delivery is done when its part for each
        delivery is done; the parts are collected if necessary. If `force` covers the stage, only an attempt that this
        run has already pinned counts.
        """
        if not stage.by_delivery:
            return self._find_or_adopt(stage, self.key(stage))
        parts = {delivery.name: self.find_or_adopt_part(stage, delivery) for delivery in self.deliveries}
        done = {name: part for name, part in parts.items() if part is not None}
        if len(done) < len(parts):
            return None
        found = self._find_or_adopt(stage, self.key(stage))
        if found is None or found.parts != {name: part.uri for name, part in done.items()}:
            found = self.collect(stage, done, new_attempt())
            self.pin(found)
        return found

    def collect(self, stage: Stage, parts: Mapping[str, Manifest], attempt: str) -> Manifest:
        """Commit an attempt that refers to the parts of a stage done by delivery."""
        key_uri = self.key_uri(stage)
        manifest = combine(
            stage,
            key=self.key(stage),
            uri=layout.attempt_uri(key_uri, attempt),
            config=self.config.part(stage.fields),
            inputs={name: self.pinned(name).uri for name in stage.inputs},
            parts=parts,
        )
        commit(key_uri, manifest)
        return manifest

    def find_or_adopt_part(self, stage: Stage, delivery: Delivery) -> Manifest | None:
        """Return the finished part for one delivery, as `find_or_adopt` does for a stage."""
        return self._find_or_adopt(stage, self.part_key(stage, delivery), delivery)

    def _find_or_adopt(self, stage: Stage, key: str, delivery: Delivery | None = None) -> Manifest | None:
        pin = self._pin_uri(stage.name, delivery)
        key_uri = layout.key_uri(self.root, stage.name, key)
        pinned = read_pin(pin)
        attempt = pinned.attempt if pinned and pinned.attempt.startswith(key_uri + "/") else ""
        if not attempt and not self.forces(stage) and (name := layout.current(key_uri)):
            attempt = layout.attempt_uri(key_uri, name)
        if not attempt or not is_committed(attempt):
            return None
        try:
            manifest = load_manifest(attempt)
        except DataError:
            if is_committed(attempt):  # it is damaged, which must be reported
                raise
            return None  # a clean-up has just removed it
        if not manifest.whole():
            return None
        self.pin(manifest, delivery)
        if not is_committed(attempt):  # a clean-up began to remove it before it was pinned
            storage.remove(pin)
            return None
        return manifest

    def _pin_uri(self, stage_name: str, delivery: Delivery | None = None) -> str:
        return layout.pin_uri(self.uri, stage_name, delivery.name if delivery else None)

    def pin(self, manifest: Manifest, delivery: Delivery | None = None) -> None:
        """Record that this run uses an attempt for a stage, or for its part for one delivery."""
        content = {"attempt": manifest.uri, "key": manifest.key}
        storage.write_json(self._pin_uri(manifest.stage, delivery), content)

    def pins(self) -> dict[str, Manifest]:
        """Return the manifests of all stages that the run has done, in the order of the flow."""
        done = set(map(layout.pin_name, storage.list_files(self.uri)))
        return {name: self.pinned(name) for name in ALL_STAGES if name in done}

    def write(self) -> None:
        """Write the run folder; remove the pins of an earlier run with this id."""
        storage.remove(layout.pins_uri(self.uri))
        (flow,) = (name for name, kind in FLOWS.items() if type(self.config) is kind)
        content = {
            "run_id": self.run_id,
            "flow": flow,
            "config": self.config.model_dump(mode="json"),
            "sources": self.sources,
            "as_of": self.as_of,
            "deliveries": [delivery.model_dump(mode="json") for delivery in self.deliveries],
        }
        storage.write_json(layout.run_file_uri(self.uri), content)


Run = FlowRun[TrainingConfig]  # a run of the training flow


def load_run(uri: str) -> FlowRun[Any]:
    """Read a run folder of any flow.

    Raises:
        ConfigurationError: There is no run at the URI, or another version of the program wrote it.
        DataError: Its `run.json` is damaged.
    """
    uri = storage.normalize(uri)
    record = read_run_record(uri)
    if record is None:
        raise ConfigurationError(f"There is no run at {uri}.", "Open one with `python -m ml open-run`.")
    root, name = layout.split_run_uri(uri)
    if missing := set(RunRecord.model_fields) - record.model_fields_set:
        raise _another_version(uri, f"it lacks {', '.join(sorted(missing))}.")
    if record.flow not in FLOWS:
        raise _another_version(uri, f"there is no flow {record.flow}.")
    kind = FLOWS[record.flow]
    try:
        config = kind(**record.config)
        deliveries = tuple(Delivery.model_validate(delivery) for delivery in record.deliveries or [])
    except ValidationError as error:
        raise _another_version(uri, describe(error, kind)) from error
    sources = record.sources
    if kind is TrainingConfig:  # an older version opened runs without a reference
        sources = {"reference": NO_REFERENCE, **sources}
    return FlowRun(root, name, record.run_id, config, sources, record.as_of, deliveries)


def _another_version(uri: str, why: str) -> ConfigurationError:
    file = layout.run_file_uri(uri)
    return ConfigurationError(f"{file} was written by another version of the program: {why}", "Start a new run.")
