"""The registry of trained models in MLflow: the versions of one registered model, and the champion among them.

Each chip class has one registered model, as it has one experiment; each training has one version of it. The aliases
`champion` and `previous` name the version that predictions use and the one before it. A version's tags name its
attempts, the time of its data, and the decision about it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.metrics.records import EvaluationRecord
from ml.model.record import TrainingRecord
from ml.tracking import experiments
from ml.tracking.local_registry import Registered, read_registered
from ml.workflow import layout, lease

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)
CHAMPION, PREVIOUS = "champion", "previous"
MOVE = "moved_back"  # tag of the registered model: the run that moved back, and from and to which version
Decision = Literal["promoted", "refused", "rejected", "timed out", "moved back"]


class Version(BaseModel):
    """A version of a registered model.

    Attributes:
        model: Name of the registered model.
        number: Number of the version, from 1.
        train: URI of the attempt of stage train.
        evaluate: URI of the attempt of stage evaluate that measured it last.
        run: URI of the run folder.
        as_of: The training used what was delivered before this time; ISO 8601, UTC.
        accuracy: Accuracy on the test split.
        decision: The last decision about it, or None.
        decided: By whom, why and when, in words.
        compared: Id of the promotion that last compared it with the champion of that time, or empty.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    number: int
    train: str
    evaluate: str
    run: str
    as_of: str
    accuracy: float
    decision: Decision | None = None
    decided: str = ""
    compared: str = ""

    @property
    def title(self) -> str:
        """The name for people."""
        return f"Version {self.number} of {self.model}"


# The attributes that are stored as tags.
TAGS = ("train", "evaluate", "run", "as_of", "accuracy", "decision", "decided", "compared")


class Registry:
    """The versions of one registered model.

    Every method raises ConfigurationError if MLflow's database is from another version, TransientError if the tracking
    server fails, and ResourceError if the local database cannot be used.

    Args:
        root: The storage root.
        config: Configuration of a run; its `chip_class` names the registered model.

    Raises:
        ConfigurationError: The root is not on this machine and the deployment names no tracking server.
    """

    def __init__(self, root: str, config: TrainingConfig) -> None:
        self.uri = experiments.tracking_uri(root)
        self.name = experiments.experiment_name(config)
        self._folder = layout.registered_model_uri(storage.normalize(root), self.name)

    def versions(self) -> list[Version]:
        """List all versions in the order of their numbers, without those registered by hand under the same name."""
        if local := self._read_local():
            return [_version(self.name, number, tags) for number, tags in local.tags.items() if "train" in tags]
        with self._reach() as client:
            return self._versions(client) if client else []

    def version(self, number: int) -> Version:
        """Return the version with that number.

        Raises:
            ConfigurationError: There is no such version.
        """
        return self._numbered(self.versions(), number)

    def champion(self) -> Version | None:
        """Return the version that predictions use, or None if none was promoted yet."""
        return self._aliased(CHAMPION)

    def previous(self) -> Version | None:
        """Return the version that was champion before the present one, or None."""
        return self._aliased(PREVIOUS)

    def register(
        self, trained: Manifest, evaluated: Manifest, run: str, as_of: str, tags: dict[str, str] | None = None
    ) -> Version:
        """Return the version of a training, and create it if it is missing.

        If a later run reused the same training, the version takes over that run's evaluation and `as_of`.

        Args:
            trained: The attempt of stage train.
            evaluated: The attempt of stage evaluate.
            run: URI of the run folder.
            as_of: The time of the run's data, see `Version`.
            tags: Additional tags, for people.

        Raises:
            ConfigurationError: The tracking server did not record the model and cannot read it from a local folder.
        """
        values = {
            "train": trained.uri,
            "evaluate": evaluated.uri,
            "run": run,
            "as_of": as_of,
            "accuracy": repr(evaluated.record(EvaluationRecord).accuracy.value),
            **(tags or {}),
        }
        local = self._read_local()
        for number, had in local.tags.items() if local else ():
            if had.get("train") == trained.uri and (had["as_of"] > as_of or values.items() <= had.items()):
                return _version(self.name, number, had)  # there is nothing to change
        with self._alone(), self._reach(make=True) as client:
            assert client
            found = [version for version in self._versions(client) if version.train == trained.uri]
            if found and found[0].as_of > as_of:
                return found[0]
            if found:
                for key, value in values.items():
                    client.set_model_version_tag(self.name, str(found[0].number), key, value)
                return self._get(client, found[0].number)
            source = self._source(client, trained)
            made = client.create_model_version(
                self.name, tags=values, source=source.uri, model_id=source.model_id, run_id=source.run_id
            )
            log.info("registered %s as version %s of %s", trained.uri, made.version, self.name)
            return self._get(client, int(made.version))

    def promote(self, number: int, instead_of: int | None) -> Version:
        """Make a version champion; the old champion becomes `previous`.

        Args:
            number: Number of the version; if it is champion already, nothing changes.
            instead_of: Number of the champion that it was compared with, or None.

        Raises:
            ConfigurationError: There is no such version, or the champion has changed since the comparison.
        """
        with self._alone(), self._reach() as client:
            if client is None:
                raise self._unknown(number)
            version = self._numbered(self._versions(client), number)
            champion = self._alias(client, CHAMPION)
            if champion == number:
                return version
            if champion != instead_of:
                is_now = f"version {champion}" if champion else "no version"
                raise ConfigurationError(
                    f"{self.name}: {is_now} is champion now, not the one that version {number} was compared with.",
                    "Start the promotion again.",
                )
            self._move(client, number, champion)
            return version

    def move_back(self, run_id: str) -> tuple[Version, Version]:
        """Swap `previous` and the champion; return the new champion and the new `previous`.

        If a run was killed during the move, its retry completes the same move.

        Args:
            run_id: Id of the run that moves; each move needs its own.

        Raises:
            ConfigurationError: There is no earlier champion, or the champion has changed during the move.
        """
        with self._alone(), self._reach() as client:
            champion, previous = (self._alias(client, alias) if client else None for alias in (CHAMPION, PREVIOUS))
            if client:
                mover, _, move = client.get_registered_model(self.name).tags.get(MOVE, "").rpartition(": ")
                if mover == run_id:
                    champion, previous = map(int, move.split(" to "))
            if client is None or champion is None or previous is None or champion == previous:
                raise ConfigurationError(
                    f"{self.name} has no previous champion to move back to.",
                    "Set `candidate` to a registered version instead.",
                )
            client.set_registered_model_tag(self.name, MOVE, f"{run_id}: {champion} to {previous}")
        return self.promote(previous, champion), self.version(champion)

    def decide(self, number: int, decision: Decision, how: str) -> None:
        """Record what was decided about a version.

        Args:
            number: Number of the version.
            decision: The decision.
            how: Who or what decided, and why, such as `by admin`.
        """
        decided = f"{how}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
        with self._reach() as client:
            if client is None:
                raise self._unknown(number)
            client.set_model_version_tag(self.name, str(number), "decision", decision)
            client.set_model_version_tag(self.name, str(number), "decided", decided)
        log.info("version %d of %s: %s %s", number, self.name, decision, decided)

    def note_comparison(self, number: int, run_id: str) -> None:
        """Record the promotion that compared a version with the champion."""
        with self._reach() as client:
            if client is None:
                raise self._unknown(number)
            client.set_model_version_tag(self.name, str(number), "compared", run_id)

    def _read_local(self) -> Registered | None:
        """Read a local database, if there is one and MLflow's client is not needed for it."""
        database = Path(self.uri.removeprefix(experiments.SQLITE))
        return read_registered(database, self.name) if self.uri != str(database) and database.exists() else None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time read the registered model and then change it, which no server does in one step.

        `_reach` locks a local database. Processes that share a tracking server share the storage root too.
        """
        if self.uri.startswith(experiments.SQLITE):
            yield
            return
        with lease.hold(self._folder, self.name, lambda: None):
            yield

    @contextlib.contextmanager
    def _reach(self, make: bool = False) -> Iterator[MlflowClient | None]:
        """Yield MLflow's client, or None if the registered model is missing and `make` is off."""
        local = self.uri.startswith(experiments.SQLITE)
        if local and not make and not Path(self.uri.removeprefix(experiments.SQLITE)).exists():
            yield None  # reading the registry must not create a database
            return
        with experiments.reach(self.uri) as client:
            from mlflow.exceptions import MlflowException

            try:
                client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                if not make:
                    yield None
                    return
                client.create_registered_model(self.name)
            yield client

    def _versions(self, client: MlflowClient) -> list[Version]:
        found, token = [], None
        while True:
            page = client.search_model_versions(f"name = '{self.name}'", page_token=token)
            found += [_version(each.name, int(each.version), each.tags) for each in page if "train" in each.tags]
            token = page.token
            if not token:
                return sorted(found, key=lambda version: version.number)

    def _get(self, client: MlflowClient, number: int) -> Version:
        found = client.get_model_version(self.name, str(number))
        return _version(found.name, int(found.version), found.tags)

    def _numbered(self, versions: list[Version], number: int) -> Version:
        for version in versions:
            if version.number == number:
                return version
        raise self._unknown(number)

    def _unknown(self, number: int) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name} has no version {number}.", "MLflow's page of the model lists all versions."
        )

    def _alias(self, client: MlflowClient, alias: str) -> int | None:
        number = client.get_registered_model(self.name).aliases.get(alias)
        return None if number is None else int(number)

    def _aliased(self, alias: str) -> Version | None:
        if local := self._read_local():
            number = local.aliases.get(alias)
            return None if number is None else _version(self.name, number, local.tags.get(number, {}))
        with self._reach() as client:
            number = self._alias(client, alias) if client else None
            return self._get(client, number) if client and number is not None else None

    def _move(self, client: MlflowClient, champion: int, previous: int | None) -> None:
        # In this order, so that a process killed between the two calls loses no champion.
        if previous is not None:
            client.set_registered_model_alias(self.name, PREVIOUS, str(previous))
        client.set_registered_model_alias(self.name, CHAMPION, str(champion))
        log.info("version %d of %s is champion; the version before it: %s", champion, self.name, previous or "none")

    def _source(self, client: MlflowClient, trained: Manifest) -> _Source:
        """Find what MLflow loads a version from: the model that the training logged, or else the attempt itself."""
        logged = trained.record(TrainingRecord).mlflow
        if logged.model_id is None or logged.tracking_uri != self.uri:
            if not self.uri.startswith(experiments.SQLITE) and storage.local_path(trained.uri):
                raise ConfigurationError(
                    f"The tracking server {self.uri} did not record the model of {trained.uri} and cannot read "
                    "it from a folder of this machine.",
                    "Train it again: force = train.",
                )
            return _Source(trained.uri)
        model = client.get_logged_model(logged.model_id)
        return _Source(model.artifact_location, logged.model_id, logged.run_id)


class _Source(NamedTuple):
    """A model's URI for MLflow, and the logged model and MLflow run that it comes from."""

    uri: str
    model_id: str | None = None
    run_id: str | None = None


def _version(model: str, number: int, tags: Mapping[str, str]) -> Version:
    if "train" not in tags:
        raise ConfigurationError(
            f"Version {number} of {model} names no training: this workflow did not register it.",
            f"Remove the aliases {CHAMPION} and {PREVIOUS} from it.",
        )
    values = {name: tags[name] for name in TAGS if name in tags}
    return Version.model_validate({"model": model, "number": number, **values})
