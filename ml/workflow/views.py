"""What the body of a stage gets to see of its run: what the stage's row declares, and no more.

What a body reads without declaring it is missing from the stage's key, so that a run with another value would find old
work done. Each view therefore refuses everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml.config.parameter import FlowConfig
from ml.errors import UndeclaredReadError
from ml.flow.stage import Stage
from ml.release.delivery import Delivery
from ml.release.photographs import open_photographs, photograph_name
from ml.release.release import Release, find_release
from ml.workflow import layout
from ml.workflow.manifest import Manifest


class ConfigView:
    """A flow's configuration as a stage may read it: looks like the configuration, and refuses undeclared fields.

    Properties of the configuration work where the fields that they read are declared.
    """

    def __init__(self, config: FlowConfig, stage: Stage) -> None:
        self._config = config
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        """Read a declared field, or a property of the configuration.

        Raises:
            UndeclaredReadError: The stage's row does not declare the field.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        kind = type(self._config)
        if name in kind.model_fields:
            if name not in self._stage.declared_fields:
                raise UndeclaredReadError(
                    f"Stage {self._stage.name} reads the parameter {name}, which its row does not declare.",
                    "Add it to `fields` in ml/flow/table.py and raise the stage's version; or to `unkeyed`, with the "
                    "reason, where it does not shape the output.",
                )
            return getattr(self._config, name)
        attribute = getattr(kind, name)
        if isinstance(attribute, property) and attribute.fget:
            return attribute.fget(self)
        raise UndeclaredReadError(
            f"Stage {self._stage.name} asks its configuration for {name}, which may read any parameter.",
            "Read the parameters by name; to show or record all of them, use `context.run.parameters`.",
        )


class InputsView(Mapping[str, Manifest]):
    """The manifests of the stages that a stage declares as `inputs` and `reads`, in the order of the flow."""

    def __init__(self, manifests: Mapping[str, Manifest], stage: Stage) -> None:
        self._manifests = manifests
        self._stage = stage

    def __getitem__(self, name: str) -> Manifest:
        """Return the manifest of a declared stage.

        Raises:
            UndeclaredReadError: The stage's row does not declare it.
            KeyError: It is one of `reads` that the run has not pinned.
        """
        if name not in (*self._stage.inputs, *self._stage.reads):
            raise UndeclaredReadError(
                f"Stage {self._stage.name} reads stage {name}, which its row does not declare.",
                "Add it to `inputs` in ml/flow/table.py and raise the stage's version; or to `reads`, with the "
                "reason, where it does not shape the output.",
            )
        return self._manifests[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the stages."""
        return iter(self._manifests)

    def __len__(self) -> int:
        """Count the stages."""
        return len(self._manifests)


@dataclass(frozen=True)
class RunView:
    """What a body may know of the run that it works for.

    Attributes:
        root: The storage root.
        slug: The run's folder name under `runs/`.
        run_id: The run's id as given, Airflow's for instance.
        sources: The digests of what the run reads that no stage makes.
        deliveries: The deliveries that a training run sees, oldest first.
        photographs: Where the photographs lie, if not in the deliveries.
        parameters: Every parameter as a JSON value: to be shown or recorded, never to be worked with.
    """

    root: str
    slug: str
    run_id: str
    sources: Mapping[str, str]
    deliveries: tuple[Delivery, ...]
    photographs: str | None
    parameters: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """The run folder."""
        return layout.run_uri(self.root, self.slug)

    def release(self, delivery: Delivery) -> Release:
        """Return the files of one of a training run's deliveries."""
        return find_release(delivery.uri, self.photographs)

    def read_photograph(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded, from the newest delivery that holds it.

        Raises:
            FileNotFoundError: None of the run's deliveries does.
        """
        places = [self.photographs] if self.photographs else [d.uri for d in reversed(self.deliveries)]
        for place in places:
            try:
                return open_photographs(place).read(subset, image_id)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{photograph_name(subset, image_id)} is in no delivery of run {self.run_id}")
