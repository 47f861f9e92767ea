"""A run: its validated configuration, the state of the release it saw, and the attempts it pinned."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import ValidationError

from ml import storage
from ml.config import FlowConfig, RunConfig, describe
from ml.deliveries import Delivery, combined, find_deliveries, identify, midnight
from ml.deployment import parse_config
from ml.errors import ConfigurationError, DataError
from ml.flow import PREDICT, STAGES, followers
from ml.flow_configs import C, ComparisonConfig, PredictionConfig
from ml.manifests import Manifest, load_manifest
from ml.miap import check_miap
from ml.release import Release, check_classes, find_release, read_classes
from ml.stages import Stage, collect, new_attempt, stays

FLOWS: dict[str, type[FlowConfig]] = {
    "training": RunConfig,
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

    def release(self: FlowRun[RunConfig], delivery: Delivery) -> Release:
        """The files of one of a training run's deliveries."""
        return find_release(delivery.uri, self.config.photographs)

    def read_photograph(self: FlowRun[RunConfig], subset: str, image_id: str) -> bytes:
        """One photograph, encoded, from the newest delivery that holds it.

        Raises:
            FileNotFoundError: None of the run's deliveries does.
        """
        places = [self.config.photographs] if self.config.photographs else [d.uri for d in reversed(self.deliveries)]
        for place in places:
            try:
                return storage.read_bytes(f"{place}/{subset}/{image_id}.jpg")
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{subset}/{image_id}.jpg is in no delivery of run {self.run_id}")

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
            found["faces"] = self.pinned("join_labels").metrics["asked"][delivery.name]["digest"]
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
            found = collect(self, stage, done, new_attempt())
            self.pin(found)
        return found

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


Run = FlowRun[RunConfig]  # of the training flow


def open_run(
    root: str,
    run_id: str,
    values: dict[str, Any],
    as_of: datetime.datetime | None = None,
    since: datetime.datetime | None = None,
) -> Run:
    """Validate the parameters, look at the deliveries, and write the run folder.

    Opening a run again starts it afresh: what it had pinned is forgotten, what was done is found by its keys.

    Args:
        root: The storage root.
        run_id: The run's id.
        values: Parameters, on top of the deployment's defaults.
        as_of: The moment, with its time zone, before which deliveries must be dated to be seen: the end of the data
            interval of a scheduled run. By default the end of the day of parameter `as_of`, or now.
        since: The start of that interval: a delivery must have come in it, unless `retrain_without_news` is set.

    Raises:
        ConfigurationError: A parameter is wrong or a class is unknown.
        DataError: The release is absent or not as it must be, or no delivery is dated before `as_of`.
        NothingNewError: No delivery is dated from `since` on.
    """
    config = parse_config(values)
    root = storage.normalise(root)
    if as_of is None:
        as_of = midnight(config.as_of + datetime.timedelta(days=1)) if config.as_of else _now()
    config = _resolved(config)
    photographs = config.photographs
    found = find_deliveries(config.release, photographs, as_of, None if config.retrain_without_news else since)
    for release in found.values():
        check_classes(config, read_classes(release))
        check_miap(config, release)
    deliveries = tuple(identify(name, release, root) for name, release in found.items())
    sources = {
        "tables": combined([delivery.tables for delivery in deliveries]),
        "photographs": combined([delivery.photographs for delivery in deliveries]),
        # Which delivery's photograph is cut is only a question where there are several.
        "listings": combined([delivery.listing for delivery in deliveries]) if len(deliveries) > 1 else "",
    }
    told = as_of.astimezone(datetime.UTC).isoformat()
    run = Run(root, slug(run_id), run_id, config, sources, told, deliveries)
    run.write()
    return run


def _resolved(config: RunConfig) -> RunConfig:
    """The configuration with absolute places, as the jobs may run in another folder; what they need must be there."""
    told: dict[str, Any] = {"release": storage.normalise(config.release)}
    if config.photographs:
        told["photographs"] = storage.normalise(config.photographs)
        behind_http = told["photographs"].startswith(("http://", "https://"))  # where there are no folders to look for
        if not behind_http and not storage.exists(told["photographs"]):
            raise ConfigurationError(
                f"photographs: there is no folder {told['photographs']}.", "Correct the parameter, or leave it empty."
            )
    if config.network.startswith("transfer:") and config.backbone_weights not in ("imagenet", "none"):
        told["backbone_weights"] = storage.normalise(config.backbone_weights)
        if not storage.exists(told["backbone_weights"]):
            raise ConfigurationError(
                f"backbone_weights: there is no file {told['backbone_weights']}.", "Correct the parameter."
            )
    if config.baseline:
        told["baseline"] = find_baseline(config.baseline).uri
    return config.model_copy(update=told)


def find_baseline(uri: str) -> Manifest:
    """The attempt of stage train that the parameter `baseline` names.

    Raises:
        ConfigurationError: There is none.
    """
    uri = storage.normalise(uri)
    advice = "Name an attempt folder of stage train, or leave it empty."
    try:
        attempt = load_manifest(uri)
    except DataError as error:
        raise ConfigurationError(f"baseline: {uri} is no attempt that was committed.", advice) from error
    if attempt.stage != "train":
        raise ConfigurationError(f"baseline: {uri} is an attempt of stage {attempt.stage}.", advice)
    return attempt


def _pointed(uri: str) -> str:
    """The attempt that a pin or a key's pointer names; empty where there is none."""
    try:
        return str(storage.read_json(uri)["attempt"])
    except FileNotFoundError:
        return ""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


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
