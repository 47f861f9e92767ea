"""Views of a run for the bodies of stages, limited to what the stage's row in the table of stages declares.

A value that a body reads without declaring it is missing from the stage's key, so that a run with another value would
reuse outdated work. Therefore the views raise an error for anything undeclared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml.config.parameter import FlowConfig
from ml.errors import UndeclaredReadError
from ml.flow.stage import Stage
from ml.photographs.opening import open_photographs
from ml.photographs.read_ahead import read_ahead
from ml.photographs.source import Columns, Key, Photographs, photograph_name
from ml.release.delivery import Delivery
from ml.release.release import Release, find_release
from ml.workflow import layout
from ml.workflow.manifest import Manifest
from ml.workflow.reference import Reference, read_reference


class ConfigView:
    """A view of a flow's configuration that raises an error for undeclared fields.

    A property of the configuration works if all fields that it reads are declared.
    """

    def __init__(self, config: FlowConfig, stage: Stage) -> None:
        self._config = config
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        """Return a declared field or a property of the configuration.

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
                    "Add it to `fields` in ml/flow/table.py and raise the stage's version. If it does not affect the "
                    "output, add it to `unkeyed` with the reason.",
                )
            return getattr(self._config, name)
        attribute = getattr(kind, name)
        if isinstance(attribute, property) and attribute.fget:
            return attribute.fget(self)
        raise UndeclaredReadError(
            f"Stage {self._stage.name} uses {name} of its configuration, which may read any parameter.",
            "Read parameters by name. To show or record all of them, use `context.run.parameters`.",
        )


class InputsView(Mapping[str, Manifest]):
    """A view of the manifests of the stages that a stage declares as `inputs` and `reads`, in the order of the flow."""

    def __init__(self, manifests: Mapping[str, Manifest], stage: Stage) -> None:
        self._manifests = manifests
        self._stage = stage

    def __getitem__(self, name: str) -> Manifest:
        """Return the manifest of a declared stage.

        Raises:
            UndeclaredReadError: The stage's row does not declare it.
            KeyError: It is declared in `reads`, but the run has not pinned it.
        """
        if name not in (*self._stage.inputs, *self._stage.reads):
            raise UndeclaredReadError(
                f"Stage {self._stage.name} reads stage {name}, which its row does not declare.",
                "Add it to `inputs` in ml/flow/table.py and raise the stage's version. If it does not affect the "
                "output, add it to `reads` with the reason.",
            )
        return self._manifests[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the stages."""
        return iter(self._manifests)

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self._manifests)


@dataclass(frozen=True)
class RunView:
    """A view of a run.

    Attributes:
        root: The storage root.
        slug: The run's folder name under `runs/`.
        run_id: The run's id in Airflow or from the command line.
        sources: The digests of what the run reads that no stage makes.
        deliveries: The deliveries that a training run uses, oldest first.
        photographs: The place of the photographs, if they are not in the deliveries.
        photograph_columns: The columns of photographs in Parquet tables.
        as_of: A training run uses deliveries dated before this time, in ISO format; empty for other runs.
        parameters: Every parameter as a JSON value, to be shown or recorded only.
    """

    root: str
    slug: str
    run_id: str
    sources: Mapping[str, str]
    deliveries: tuple[Delivery, ...]
    photographs: str | None
    photograph_columns: str
    as_of: str
    parameters: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """The run folder."""
        return layout.run_uri(self.root, self.slug)

    def reference(self) -> Reference | None:
        """Return the earlier run that the data are compared with, for a stage with the source `reference`."""
        return read_reference(self.uri)

    def release(self, delivery: Delivery) -> Release:
        """Return the files of one of a training run's deliveries."""
        return find_release(delivery.uri, self.photographs, Columns.parse(self.photograph_columns))

    @functools.cached_property
    def _places(self) -> tuple[Photographs, ...]:
        """The places of the photographs, the newest delivery first."""
        uris = [self.photographs] if self.photographs else [delivery.uri for delivery in reversed(self.deliveries)]
        columns = Columns.parse(self.photograph_columns)
        return tuple(open_photographs(uri, columns) for uri in uris)

    def read_photographs(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Callable[[], bytes]]]:
        """Read many photographs, each from the newest delivery that holds it, and each shard of them once.

        Yields:
            Each key, in any order, with a function that returns the encoded photograph or raises the error of reading
            it: FileNotFoundError if none of the run's deliveries holds it.
        """
        left = dict.fromkeys(keys)
        for place in self._places:
            shards = place.shards()
            for shard in shards:
                for key, data in place.read_shard(shard, left):
                    del left[key]
                    yield key, functools.partial(bytes, data)
            for key, content in read_ahead([] if shards else list(left), functools.partial(_read, place)):
                try:
                    content()
                except FileNotFoundError:
                    continue  # an older delivery may hold it
                except OSError:
                    pass  # raised again when the caller asks for the content
                del left[key]
                yield key, content
        for key in left:
            yield key, functools.partial(self.read_photograph, *key)

    def read_photograph(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded, from the newest delivery that holds it.

        Raises:
            FileNotFoundError: None of the run's deliveries holds it.
        """
        for place in self._places:
            try:
                return place.read(subset, image_id)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{photograph_name(subset, image_id)} is in no delivery of run {self.run_id}")


def _read(place: Photographs, key: Key) -> bytes:
    return place.read(*key)
