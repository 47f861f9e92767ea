"""A storage root: `open_storage` is where notebooks and scripts begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml import storage
from ml.config.deployment import Deployment, load_deployment
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.table import STAGES, downstream_of
from ml.public.model import Model
from ml.public.run import Run
from ml.tracking.models import find_model
from ml.tracking.registry import CHAMPION, PREVIOUS, Registry, Version
from ml.workflow.find import find_run, newest_runs
from ml.workflow.folder import TRAINING
from ml.workflow.manifest import load_manifest

__all__ = ["Storage", "Trained", "open_storage"]

# The parameters on which a trained model depends. Stages know the release by the digests of its files.
TRAINING_PARAMETERS = tuple(
    name
    for name in TrainingConfig.model_fields
    if name == "release"
    or any(name in stage.fields for stage in STAGES.values() if "train" in downstream_of(stage.name))
)


@dataclass(frozen=True)
class Trained:
    """A trained model in a list of all.

    Attributes:
        model: The model, with its registered version if it has one.
        runs: The ids of the training runs that use it, the one that changed last first.
        aliases: `champion`, `previous`, both or none.
        finished: When the training finished, in ISO format.
        accuracy: Accuracy on the test split; None if no run has evaluated it.
        parameters: The parameters of its training and of the stages before it, and the release, as JSON values.
    """

    model: Model
    runs: tuple[str, ...]
    aliases: tuple[str, ...]
    finished: str
    accuracy: float | None
    parameters: dict[str, Any]


class Storage:
    """The runs and models below a storage root.

    Args:
        root: The storage root.
        config: A configuration whose `chip_class` names the registered model.
    """

    def __init__(self, root: str, config: TrainingConfig) -> None:
        self.root = storage.normalize(root)
        self._config = config

    def __repr__(self) -> str:
        return f"<Storage {self.root}>"

    def runs(self, flow: str | None = None, done: str | None = None) -> list[Run]:
        """Return the runs, the one that changed last first.

        Args:
            flow: Only runs of this flow, such as `training`.
            done: Only runs that have done this stage, such as `evaluate`.
        """
        runs = map(Run, newest_runs(self.root, done))
        return [run for run in runs if flow in (None, run.flow)]

    def run(self, name: str) -> Run:
        """Return a run.

        Args:
            name: Its id, the name of its folder, or the folder's path or URI.

        Raises:
            ConfigurationError: There is no such run. The message lists the newest ones.
        """
        return Run(find_run(self.root, name))

    def model(self, name: str) -> Model:
        """Return a model.

        Args:
            name: `champion`, `previous`, the number of a registered version, the id of a run, or the path of an
                attempt folder of stage train or of a run folder.

        Raises:
            ConfigurationError: There is no such model. The message lists those that exist.
        """
        found = find_model(self.root, name, self._config)
        return Model(found.train, found.version or self._version_of(found.train.uri))

    def models(self) -> list[Trained]:
        """Return every model that a training run uses, the one that was trained last first."""
        registry = Registry(self.root, self._config)
        versions = {version.train: version for version in registry.versions()}
        named = {CHAMPION: registry.champion(), PREVIOUS: registry.previous()}
        runs: dict[str, list[Run]] = {}
        for run in self.runs(TRAINING, done="train"):
            runs.setdefault(run.stages["train"], []).append(run)
        found = []
        for train, users in runs.items():
            try:
                manifest = load_manifest(train)
            except DataError:  # removed since
                continue
            evaluated = [run for run in users if "evaluate" in run.stages]
            found.append(
                Trained(
                    model=Model(manifest, versions.get(train)),
                    runs=tuple(run.id for run in users),
                    aliases=tuple(alias for alias, version in named.items() if version and version.train == train),
                    finished=manifest.finished,
                    accuracy=evaluated[0].summary.accuracy.value if evaluated else None,
                    parameters={name: users[0].parameters.get(name) for name in TRAINING_PARAMETERS},
                )
            )
        return sorted(found, key=lambda trained: trained.finished, reverse=True)

    @property
    def champion(self) -> Model | None:
        """The model that predictions use; None if none was promoted yet."""
        version = Registry(self.root, self._config).champion()
        return Model(load_manifest(version.train), version) if version else None

    def versions(self) -> list[Version]:
        """Return the registered versions in the order of their numbers."""
        return Registry(self.root, self._config).versions()

    def _version_of(self, train: str) -> Version | None:
        return next((version for version in self.versions() if version.train == train), None)


def open_storage(root: str | None = None, chip_class: str | None = None) -> Storage:
    """Open a storage root.

    Args:
        root: Its path or URI; by default that of the deployment file that `OPEN_IMAGES_CONFIG` names.
        chip_class: The Open Images class whose models are meant; by default the deployment's.

    Raises:
        ConfigurationError: There is no such folder, or the deployment file cannot be read.
    """
    deployment: Deployment = load_deployment()
    place = storage.normalize(root or deployment.storage)
    if not storage.exists(place):
        raise ConfigurationError(
            f"There is no storage root at {place}.",
            "Name one, as in open_storage('var/storage'), or set OPEN_IMAGES_CONFIG to the deployment's file.",
        )
    config = deployment.defaults
    return Storage(place, config.model_copy(update={"chip_class": chip_class}) if chip_class else config)
