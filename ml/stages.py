"""How a stage's work is kept, found again and never half there.

A stage's output lies under a key, in `stages/<stage>/<key>/` of the storage root. Each execution writes into an attempt
folder of its own, whose manifest is written last and never changes; then the key's pointer `current.json` is set to it.
Readers go through manifests only, so an attempt that was killed is read by nobody.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import logging
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from ml import storage
from ml.config import FlowConfig, RunConfig
from ml.errors import PassingError, ResourceError, StageError
from ml.flow_configs import C
from ml.manifests import Manifest, commit, list_files, versions
from ml.release import file_digest, modified
from ml.supervision import Supervision, identity

if TYPE_CHECKING:
    from ml.deliveries import Delivery
    from ml.release import Release
    from ml.runs import FlowRun

log = logging.getLogger(__name__)
# Both are hidden from `storage.list_files` and from Spark. What they are for stands in `ml.maintenance`.
CLAIM = "_job.json"  # who writes an attempt, written first
REMOVAL = "_removing.json"  # that an attempt is being removed


@dataclass(frozen=True)
class Stage:
    """One step of the flow and what its output depends on.

    Attributes:
        name: The stage's name.
        version: Raised by hand whenever the same input gives another output.
        fields: The fields of the flow's configuration that the stage reads.
        inputs: The stages whose output it reads.
        sources: What it reads that no stage made: `tables` and `photographs` of the release, a `model`; of a stage done
            by delivery, what it reads of one, among that the `faces` asked of it by join_labels.
        by_delivery: Its work is done, kept and found again for each delivery by itself.
        files: Those of `fields` that may name a file, whose content counts then too.
    """

    name: str
    version: int
    fields: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    by_delivery: bool = False
    files: tuple[str, ...] = ()

    def key(self, config: FlowConfig, inputs: Mapping[str, str], sources: Mapping[str, str]) -> str:
        """The digest under which the stage's output lies.

        Args:
            config: The run's configuration, of which only `fields` count.
            inputs: The key of each input stage.
            sources: The digest of each source of the release.
        """
        files = {name: digest for name, uri in config.part(self.files).items() if (digest := _content_digest(uri))}
        return self._digest(
            config=config.part(self.fields),
            inputs={name: inputs[name] for name in self.inputs},
            sources={name: sources[name] for name in self.sources},
            **({"files": files} if files else {}),
        )

    def part_key(self, config: FlowConfig, sources: Mapping[str, str]) -> str:
        """The digest under which what is done for one delivery lies: only that delivery's own sources count.

        Args:
            config: The run's configuration.
            sources: The digest of each source of the delivery.
        """
        return self._digest(config=config.part(self.fields), sources={name: sources[name] for name in self.sources})

    def collected_key(self, part_keys: Mapping[str, str]) -> str:
        """The digest under which lies what a run has of all its deliveries together."""
        return self._digest(parts=dict(part_keys))

    def _digest(self, **parts: Mapping[str, Any]) -> str:
        content = {"stage": self.name, "version": self.version, **parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _content_digest(uri: str) -> str:
    """The SHA-256 of a file, computed anew once its size or time is another; empty where there is no such file."""
    try:
        fs, path = storage.filesystem(uri)
        info = fs.info(path)
    except (FileNotFoundError, ValueError):  # ValueError: of a scheme that fsspec does not know
        return ""
    return _sha256(uri, info["size"], modified(info)) if info["type"] == "file" else ""


@functools.lru_cache
def _sha256(uri: str, size: int, time: str) -> str:
    return file_digest(uri)


@dataclass(frozen=True)
class Result:
    """What a stage's body hands back besides the files it wrote: metrics, and counts of rows by reason."""

    metrics: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowContext(Generic[C]):
    """What the body of a stage of a flow works with.

    Attributes:
        run: The run that the stage works for.
        config: Its configuration.
        inputs: The manifests of the input stages, by name.
        uri: The attempt folder, into which alone the body writes.
        checkpoints: The folder of this run under the stage's key that outlives a killed attempt.
        delivery: The delivery that a stage done by delivery is at work on; None for other stages.
    """

    run: FlowRun[C]
    config: C
    inputs: dict[str, Manifest]
    uri: str
    checkpoints: str
    delivery: Delivery | None = None

    @property
    def release(self: FlowContext[RunConfig]) -> Release:
        """The files of the delivery that the stage is at work on."""
        assert self.delivery is not None
        return self.run.release(self.delivery)

    def path(self, *parts: str) -> str:
        """A URI in the attempt folder."""
        return storage.join(self.uri, *parts)


Context = FlowContext[RunConfig]  # of a stage of the training flow


def new_attempt() -> str:
    """A name for an attempt: sorts by time, never met twice."""
    return f"{_now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def run_stage(
    run: FlowRun[C], stage: Stage, body: Callable[[FlowContext[C]], Result], attempt: str | None = None
) -> Manifest:
    """Do a stage's work for a run, unless it is found done, and pin the attempt in the run.

    A stage done by delivery calls the body for each delivery whose work is not found done; each is committed by itself,
    so that a retry goes on with those that are left.

    Raises:
        StageError: The work failed; the attempt's `error.json` says the same.
    """
    if found := run.find(stage):
        log.info("%s: found done, attempt %s", stage.name, found.attempt)
        return found
    attempt = attempt or new_attempt()
    supervision = Supervision()
    supervision.start()
    uri = attempt_uri(run, stage, attempt)
    try:
        if stage.by_delivery:
            parts = {}
            for delivery in run.deliveries:
                part = run.find_part(stage, delivery)
                if part is None:
                    log.info("%s: delivery %s", stage.name, delivery.uri)
                    part = _execute(run, stage, body, attempt, supervision, delivery)
                    run.pin(part, delivery)
                parts[delivery.name] = part
            manifest = collect(run, stage, parts, attempt)
        else:
            manifest = _execute(run, stage, body, attempt, supervision)
    except Exception as error:
        raise _record(error, uri, run.slug) from error
    run.pin(manifest)
    return manifest


def attempt_uri(run: FlowRun[C], stage: Stage, attempt: str) -> str:
    """The folder of an attempt; of a stage done by delivery, that of the whole, where its `error.json` lies."""
    return storage.join(run.key_uri(stage), "attempts", attempt)


def _execute(
    run: FlowRun[C],
    stage: Stage,
    body: Callable[[FlowContext[C]], Result],
    attempt: str,
    supervision: Supervision,
    delivery: Delivery | None = None,
) -> Manifest:
    """Do a stage's work, or its part for one delivery, in a fresh attempt, and commit it."""
    started = _now()
    key = run.part_key(stage, delivery) if delivery else run.key(stage)
    key_uri = storage.join(run.root, "stages", stage.name, key)
    uri = storage.join(key_uri, "attempts", attempt)
    inputs = {name: run.pinned(name) for name in stage.inputs}
    checkpoints = storage.join(key_uri, "checkpoints", run.slug)
    storage.write_json(storage.join(uri, CLAIM), {"run": run.slug, "job": identity()})
    result = body(FlowContext(run, run.config, inputs, uri, checkpoints, delivery))
    sources = run.sources_of(stage, delivery) if delivery else run.sources
    manifest = Manifest(
        stage=stage.name,
        version=stage.version,
        key=key,
        attempt=attempt,
        uri=uri,
        config=run.config.part(stage.fields),
        inputs={name: manifest.uri for name, manifest in inputs.items()},
        sources={name: sources[name] for name in stage.sources},
        files=list_files(uri),
        metrics=result.metrics,
        ledger=result.ledger,
        versions=versions(),
        started=started.isoformat(),
        finished=_now().isoformat(),
    )
    supervision.check()
    commit(key_uri, manifest)
    _check_claim(uri)
    storage.remove(checkpoints)
    return manifest


def collect(run: FlowRun[C], stage: Stage, parts: Mapping[str, Manifest], attempt: str) -> Manifest:
    """Commit what a run has of a stage done by delivery, as one attempt that refers to its parts.

    Args:
        run: The run.
        stage: The stage.
        parts: The manifest of each delivery's part by the delivery's name, oldest first.
        attempt: Name of the attempt.
    """
    key, key_uri = run.key(stage), run.key_uri(stage)
    manifest = Manifest(
        stage=stage.name,
        version=stage.version,
        key=key,
        attempt=attempt,
        uri=storage.join(key_uri, "attempts", attempt),
        config=run.config.part(stage.fields),
        inputs={name: run.pinned(name).uri for name in stage.inputs},
        sources={},
        files=[],
        metrics=_merged([part.metrics for part in parts.values()]),
        ledger=_merged([part.ledger for part in parts.values()]),
        versions=versions(),
        started=min(part.started for part in parts.values()),
        finished=max(part.finished for part in parts.values()),
        parts={name: part.uri for name, part in parts.items()},
    )
    commit(key_uri, manifest)
    return manifest


def _merged(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of several deliveries as one: numbers are summed, lists joined without repetition, of
    other values the first holds.
    """
    merged: dict[str, Any] = {}
    for value in values:
        for name, new in value.items():
            old = merged.get(name)
            if old is None:
                merged[name] = new
            elif isinstance(new, dict):
                merged[name] = _merged([old, new])
            elif isinstance(new, list):
                merged[name] = [*old, *(item for item in new if item not in old)]
            elif isinstance(new, int | float) and not isinstance(new, bool):
                merged[name] = old + new
    return merged


def _check_claim(uri: str) -> None:
    """Take back a commit where maintenance took the attempt for one that nobody writes any more.

    Raises:
        PassingError: Files of the attempt may be gone.
    """
    if not storage.exists(storage.join(uri, CLAIM)):
        storage.remove(storage.join(uri, "manifest.json"))
        raise PassingError(
            f"Maintenance removed files of {uri} while it was being written.",
            "A retry does the work again; maintenance needs a larger grace_hours.",
        )


def stays(attempt_uri: str) -> bool:
    """Whether an attempt is committed and nobody is removing it: asked right after a pin is written, in this order."""
    return not storage.exists(storage.join(attempt_uri, REMOVAL)) and storage.exists(
        storage.join(attempt_uri, "manifest.json")
    )


def _record(error: Exception, uri: str, run: str) -> StageError:
    """Write the attempt's `error.json` and return the error as one that says what to do."""
    if isinstance(error, StageError):
        told = error
    elif isinstance(error, MemoryError):
        told = ResourceError("The job ran out of memory.", "Give it more, or lower batch_size or chip_size.")
    elif isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        told = ResourceError(f"No space left: {error}", "Free some space under the storage root, then clear the task.")
    else:
        told = PassingError(
            f"{type(error).__name__}: {str(error).strip()[:2000]}", "The task's log holds the whole traceback."
        )
    details = "".join(traceback.format_exception(error))
    content = {"run": run, "kind": told.kind, "message": told.message, "advice": told.advice, "traceback": details}
    try:
        storage.write_json(storage.join(uri, "error.json"), content)
    except OSError as unwritable:
        log.warning("error.json could not be written: %s", unwritable)
    return told


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
