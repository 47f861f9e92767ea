"""What holds attempts: runs, experiments, registered models, and the deployment's own file.

An attempt that nothing holds is read by nobody and may be removed. Its own inputs are not held by it: whoever reads the
report or the model of a run that is gone needs neither its chips nor its features, and these are what takes the room. A
run holds each stage's attempt itself, as long as it is kept.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any

from ml import storage
from ml.config.deployment import load_deployment
from ml.errors import DataError
from ml.tracking.references import mlflow_attempts
from ml.workflow.layout import PIN, attempt_id, attempt_ids, current

log = logging.getLogger(__name__)
ASK_AGAIN = 60.0  # seconds after which MLflow is asked once more, which may take as long as all the files


@dataclass
class RunFolder:
    """A folder below `runs/`.

    Attributes:
        uri: The folder.
        files: What is told of each file in it.
        run_id: The run's id, empty where the folder has no `run.json`.
        flow: The flow it is a run of.
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
        return self.flow == "training" and "pins/evaluate.json" in self.files


class Pins:
    """All that holds attempts below a storage root, as of the last `refresh`.

    Args:
        root: The storage root.
    """

    def __init__(self, root: str) -> None:
        self.root = storage.normalise(root)
        self.runs: dict[str, RunFolder] = {}
        self.experiments: set[str] = set()
        self.registered: set[str] = set()
        self._files: dict[str, tuple[str, Any]] = {}
        self._parts: dict[str, set[str]] = {}
        self._held: dict[str, str] = {}
        self._keys: set[str] = set()
        self._asked = -math.inf

    def refresh(self) -> None:
        """Look again. Of files, only those that have changed are read; MLflow is asked now and then.

        What MLflow comes to hold meanwhile is held by a run already, which has trained, evaluated or promoted it.

        Raises:
            ConfigurationError: MLflow is not named, or its database is of another version.
            DataError: A file below `runs/` is damaged, so that nobody can know what it holds.
            TransientError: The tracking server does not answer.
            ResourceError: MLflow's local database cannot be used.
        """
        self.runs = self._read_runs()
        if time.monotonic() > self._asked + ASK_AGAIN:
            self.experiments, self.registered = mlflow_attempts(self.root)
            self._asked = time.monotonic()
        self.hold(self.runs)

    def hold(self, runs: dict[str, RunFolder]) -> None:
        """Count these of the run folders alone as holding anything: a plan asks what would be held without others."""
        deployment = load_deployment()
        sources = {
            "a run": {attempt for run in runs.values() for attempt in run.attempts | run.named},
            "a registered model": self.registered,
            "an experiment": self.experiments,
            "the deployment's file": attempt_ids([deployment.defaults.baseline, deployment.prediction.model]),
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
        """What holds an attempt, given as `attempt_id` has it, or None."""
        if holder := self._held.get(attempt):
            return f"{holder} holds it"
        key, _, name = attempt.partition("/attempts/")
        if key in self._keys and current(self.root, key) == name:
            return "it is the current one of a key that a run uses"
        return None

    def _read_runs(self) -> dict[str, RunFolder]:
        runs: dict[str, RunFolder] = {}
        folder = storage.join(self.root, "runs")
        seen = {}
        for path, stat in storage.survey(folder).items():
            name, _, inner = path.partition("/")
            run = runs.setdefault(name, RunFolder(storage.join(folder, name)))
            run.files[inner] = stat
            if not PIN.fullmatch(inner):
                continue
            content = self._content(storage.join(folder, path), path, stat)
            if content is None:
                continue
            seen[path] = (stat.state, content)
            if inner == "run.json":
                run.run_id, run.flow = content["run_id"], content.get("flow", "training")
                run.named = attempt_ids(content["config"].get(name) for name in ("baseline", "model"))
            elif attempt := attempt_id(content["attempt"]):
                run.attempts.add(attempt)
                run.keys.add(attempt.partition("/attempts/")[0])
        self._files = seen
        return runs

    def _content(self, uri: str, path: str, stat: storage.Stat) -> Any:
        state, content = self._files.get(path, ("", None))
        if state == stat.state:
            return content
        try:
            content = storage.read_json(uri)
        except FileNotFoundError:  # the run is being opened anew
            return None
        except ValueError:
            content = None
        needed = {"run_id", "config"} if path.endswith("/run.json") else {"attempt"}
        if not isinstance(content, dict) or not needed <= set(content):
            raise DataError(
                f"{uri} is damaged, so that nobody knows what its run holds.", "Remove the run's folder by hand."
            )
        return content

    def _parts_of(self, attempt: str) -> set[str]:
        if attempt not in self._parts:
            uri = storage.join(self.root, "stages", attempt, "manifest.json")
            try:
                parts = storage.read_json(uri).get("parts") or {}
            except FileNotFoundError:
                return set()
            except ValueError:
                log.warning("%s is damaged", uri)
                return set()
            self._parts[attempt] = attempt_ids(parts.values())
        return self._parts[attempt]
