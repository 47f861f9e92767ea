"""What holds attempts: runs, experiments, registered models, and the deployment's own file.

An attempt that nothing holds is read by nothing and may be removed. Its own inputs are not held by it: a reader of the
report or the model of a run that is gone needs neither its chips nor its features, and these take the room. A run holds
each stage's attempt itself, as long as it is kept.
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
ASK_AGAIN = 60.0  # seconds after which MLflow is asked once more, which may take as long as all the files


@dataclass
class HoldingRun:
    """A run folder, and what it holds.

    Attributes:
        uri: The folder.
        files: What the file system says of each file in it.
        run_id: The run's id, empty where the folder has no `run.json`.
        flow: The flow that it is a run of.
        attempts: The attempts that it has pinned.
        named: Those that its configuration names.
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
        """When a file in it was last written."""
        return max(stat.modified for stat in self.files.values())

    @property
    def evaluated(self) -> bool:
        """Whether it is a training run that came to its end."""
        return self.flow == TRAINING and "evaluate" in map(layout.pin_name, self.files)


class References:
    """All that holds attempts below a storage root, as of the last `refresh`.

    Args:
        root: The storage root.
        deployment: The deployment's settings, which may name models.
    """

    def __init__(self, root: str, deployment: Deployment) -> None:
        self.root = storage.normalize(root)
        self._named = layout.attempt_ids([deployment.defaults.baseline, deployment.prediction.model])
        self.runs: dict[str, HoldingRun] = {}
        self.experiments: set[str] = set()
        self.registered: set[str] = set()
        self._files: dict[str, tuple[str, BaseModel]] = {}
        self._parts: dict[str, set[str]] = {}
        self._held: dict[str, str] = {}
        self._keys: set[str] = set()
        self._asked = -math.inf

    def refresh(self) -> None:
        """Look again. Of files, only those that have changed are read; MLflow is asked now and then.

        What MLflow comes to hold meanwhile is held by a run already, which has trained, evaluated or promoted it.

        Raises:
            ConfigurationError: MLflow is not named, or its database is of another version.
            DataError: A file below `runs/` is damaged, so that what it holds is unknown.
            TransientError: The tracking server does not answer.
            ResourceError: MLflow's local database cannot be used.
        """
        self.runs = self._read_runs()
        if time.monotonic() > self._asked + ASK_AGAIN:
            self.experiments, self.registered = mlflow_attempts(self.root)
            self._asked = time.monotonic()
        self.hold(self.runs)

    def hold(self, runs: dict[str, HoldingRun]) -> None:
        """Count only these of the run folders as holding anything: a plan asks what would be held without others."""
        sources = {
            "a run": {attempt for run in runs.values() for attempt in run.attempts | run.named},
            "a registered model": self.registered,
            "an experiment": self.experiments,
            "the deployment's file": self._named,
        }
        self._held = {}
        for holder, attempts in sources.items():
            waiting = list(attempts)
            while waiting:  # an attempt that collects others holds its parts
                attempt = waiting.pop()
                if attempt not in self._held:
                    self._held[attempt] = holder
                    waiting += self._parts_of(attempt)
        self._keys = {key for run in runs.values() for key in run.keys}

    def holder(self, attempt: str) -> str | None:
        """Return what holds an attempt, given by its id, or None."""
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
        """Return the record of a run or a pin; None for other files, and where a run is being opened afresh."""
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
