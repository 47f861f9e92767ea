"""The references to attempts: from runs, experiments, registered models and the deployment's file.

An attempt without references can be removed. An attempt does not keep its inputs: to read the report or the model of a
removed run, its chips and features are not needed, and these take most of the space. A run that is kept refers to the
attempt of every stage itself.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field

from pydantic import BaseModel

from ml import storage
from ml.config.deployment import Deployment
from ml.tracking.references import mlflow_attempts
from ml.workflow import layout
from ml.workflow.folder import TRAINING, Pin, RunRecord, read_pin, read_run_record, survey_runs

log = logging.getLogger(__name__)
ASK_AGAIN = 60.0  # seconds between queries of MLflow, which may take as long as listing all files


@dataclass
class HoldingRun:
    """A run folder and the attempts that it refers to.

    Attributes:
        uri: The folder.
        files: The state of each file in it, by path.
        run_id: The run's id; empty if the folder has no `run.json`.
        flow: The run's flow.
        attempts: The attempts that the run has pinned.
        named: The attempts that its configuration names.
        keys: `<stage>/<key>` of each pinned attempt.
    """

    uri: str
    files: dict[str, storage.Stat] = field(default_factory=dict)
    run_id: str = ""
    flow: str = ""
    attempts: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    @property
    def modified(self) -> float:
        """Time of the last change in the folder, in seconds since 1970."""
        return max(stat.modified for stat in self.files.values())

    @property
    def evaluated(self) -> bool:
        """Whether it is a training run that has evaluated its model."""
        return self.flow == TRAINING and "evaluate" in map(layout.pin_name, self.files)


class References:
    """All references to the attempts below a storage root, as of the last `refresh`.

    Args:
        root: The storage root.
        deployment: The deployment's settings, which may name models.
    """

    def __init__(self, root: str, deployment: Deployment) -> None:
        self.root = storage.normalize(root)
        self._named = {name for name in (deployment.defaults.baseline, deployment.prediction.model) if name}
        self.runs: dict[str, HoldingRun] = {}
        self.experiments: set[str] = set()
        self.registered: set[str] = set()
        self._files: dict[str, tuple[str, BaseModel]] = {}
        self._parts: dict[str, set[str]] = {}
        self._held: dict[str, str] = {}
        self._keys: set[str] = set()
        self._asked = -math.inf

    def refresh(self) -> None:
        """Update the references. Reads only the files that have changed, and queries MLflow at intervals.

        MLflow may be out of date, because every new reference in it is to an attempt that a run, which trained,
        evaluated or promoted the model, refers to as well.

        Raises:
            ConfigurationError: MLflow is not named, or its database has another version.
            DataError: A file below `runs/` is damaged, so that its references are unknown.
            TransientError: The tracking server does not respond.
            ResourceError: MLflow's local database cannot be used.
        """
        self.runs = self._read_runs()
        if time.monotonic() > self._asked + ASK_AGAIN:
            self.experiments, self.registered = mlflow_attempts(self.root)
            self._asked = time.monotonic()
        self.hold(self.runs)

    def hold(self, runs: dict[str, HoldingRun]) -> None:
        """Count the references of these run folders only; a plan leaves out the runs that it will remove."""
        sources = {
            "a run": {attempt for run in runs.values() for attempt in run.attempts | run.named},
            "a registered model": self.registered,
            "an experiment": self.experiments,
            "the deployment's file": self._named_attempts(),
        }
        self._held = {}
        for holder, attempts in sources.items():
            waiting = list(attempts)
            while waiting:  # an attempt that collects others refers to its parts
                attempt = waiting.pop()
                if attempt not in self._held:
                    self._held[attempt] = holder
                    waiting += self._parts_of(attempt)
        self._keys = {key for run in runs.values() for key in run.keys}

    def _named_attempts(self) -> set[str]:
        """Return the attempts that the deployment's file names by path or by a run; the registry holds its versions."""
        runs = [run for slug, run in self.runs.items() if self._named & {slug, run.run_id}]
        return layout.attempt_ids(self._named).union(*(run.attempts for run in runs))

    def holder(self, attempt: str) -> str | None:
        """Return what refers to an attempt, given by its id, or None."""
        if holder := self._held.get(attempt):
            return f"{holder} holds it"
        key, name = layout.split_attempt_id(attempt)
        if key in self._keys and layout.current(layout.uri_of_id(self.root, key)) == name:
            return "it is the current one of a key that a run uses"
        return None

    def _read_runs(self) -> dict[str, HoldingRun]:
        runs: dict[str, HoldingRun] = {}
        seen: dict[str, tuple[str, BaseModel]] = {}
        for slug, files in survey_runs(self.root).items():
            run = runs[slug] = HoldingRun(layout.run_uri(self.root, slug), files)
            for path, stat in files.items():
                uri = storage.join(run.uri, path)
                content = self._content(run.uri, path, stat.state)
                if content is None:
                    continue
                seen[uri] = (stat.state, content)
                if isinstance(content, RunRecord):
                    run.run_id, run.flow = content.run_id, content.flow
                    run.named = layout.attempt_ids(content.config.get(name) for name in ("baseline", "model"))
                elif isinstance(content, Pin) and (attempt := layout.attempt_id(content.attempt)):
                    run.attempts.add(attempt)
                    run.keys.add(layout.split_attempt_id(attempt)[0])
        self._files = seen
        return runs

    def _content(self, run: str, path: str, state: str) -> BaseModel | None:
        """Return the record of a run or a pin; None for other files, or if the file has just been removed."""
        uri = storage.join(run, path)
        last_state, content = self._files.get(uri, ("", None))
        if content and last_state == state:
            return content
        if path == layout.RUN_FILE:
            return read_run_record(run)
        return read_pin(uri) if layout.pin_name(path) else None

    def _parts_of(self, attempt: str) -> set[str]:
        if attempt not in self._parts:
            uri = layout.manifest_uri(layout.uri_of_id(self.root, attempt))
            try:
                parts = storage.read_json(uri).get("parts") or {}
            except FileNotFoundError:
                return set()
            except ValueError:
                log.warning("%s is damaged", uri)
                return set()
            self._parts[attempt] = layout.attempt_ids(parts.values())
        return self._parts[attempt]
