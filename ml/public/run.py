"""A run: its parameters, the stages that it has done, its tables, metrics and model."""

from __future__ import annotations

import functools
from typing import Any

from ml import storage
from ml.config.parameter import FlowConfig
from ml.errors import DataError
from ml.flow.table import ALL_STAGES
from ml.metrics.records import EvaluationMetrics, EvaluationRecord
from ml.public.model import Model
from ml.public.table import Table, tables_of
from ml.workflow import layout
from ml.workflow.folder import read_pin, read_run_record
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import FLOWS

__all__ = ["Run"]


class Run:
    """A run of any flow.

    Args:
        uri: The run folder.

    Attributes:
        uri: The run folder.
        id: The run's id in Airflow or from the command line.
        flow: `training`, `prediction` or another flow of this workflow.
        parameters: The run's parameters by name, as JSON values.
        as_of: A training run uses deliveries dated before this instant, in ISO format; None for other runs.

    Raises:
        DataError: There is no run at the URI, or its `run.json` is damaged.
    """

    def __init__(self, uri: str) -> None:
        record = read_run_record(uri)
        if record is None:
            raise DataError(f"There is no run at {uri}.", "Name another run.")
        self.uri, self.id, self.flow = uri, record.run_id, record.flow
        self.parameters: dict[str, Any] = record.config
        self.as_of = record.as_of

    def __repr__(self) -> str:
        return f"<Run {self.id}, {self.flow}: {', '.join(self.stages) or 'no stage'} done>"

    @property
    def stages(self) -> dict[str, str]:
        """The attempt folder of each stage that the run has done, by name, in the order of the flow."""
        done = set(map(layout.pin_name, storage.list_files(self.uri)))
        pins = {name: read_pin(layout.pin_uri(self.uri, name)) for name in ALL_STAGES if name in done}
        return {name: pin.attempt for name, pin in pins.items() if pin}

    @property
    def decision(self) -> str | None:
        """What a promotion decided about its candidate, such as `promoted`; None if nothing yet, or in other flows."""
        if self.flow != "promotion":  # which spares a request to the storage
            return None
        try:
            return str(storage.read_json(layout.decision_uri(self.uri))["decision"])
        except FileNotFoundError:
            return None

    @property
    def changed_parameters(self) -> dict[str, Any]:
        """The parameters that differ from the program's defaults."""
        defaults = FLOWS.get(self.flow, FlowConfig)().model_dump(mode="json")
        return {name: value for name, value in self.parameters.items() if value != defaults.get(name)}

    def ledger(self, stage: str) -> dict[str, int]:
        """Return how many rows of a stage had each outcome.

        Raises:
            DataError: The run has not done the stage.
        """
        return self.manifest(stage).ledger

    @property
    def tables(self) -> list[Table]:
        """The tables that the run's stages have left."""
        return [table for name in self.stages for table in tables_of(self.manifest(name)).values()]

    def table(self, name: str) -> Table:
        """Return a table by its name, such as `faces`, `chips` or `features`; docs/data-contract.md describes them all.

        Args:
            name: The table's name, or `<stage>/<name>` where several stages have one of that name.

        Raises:
            DataError: The run has no such table. The message lists those that it has.
        """
        for table in reversed(self.tables):
            if name in (table.name, f"{table.stage}/{table.name}"):
                return table
        known = ", ".join(f"{table.stage}/{table.name}" for table in self.tables)
        raise DataError(f"Run {self.id} has no table {name}.", f"It has: {known or 'none'}.")

    @functools.cached_property
    def summary(self) -> EvaluationRecord:
        """The main metrics of the test split with 95% intervals.

        Raises:
            DataError: The run has not evaluated a model.
        """
        return self.manifest("evaluate").record(EvaluationRecord)

    @functools.cached_property
    def metrics(self) -> EvaluationMetrics:
        """All metrics of the test split, by label and slice, with 95% intervals.

        Raises:
            DataError: The run has not evaluated a model.
        """
        file = self.manifest("evaluate").file("metrics.json")
        return EvaluationMetrics.model_validate_json(storage.read_bytes(file))

    @property
    def pages(self) -> dict[str, str]:
        """The local path or URI of each page that the run's stages have written, by title."""
        return {
            page.title: shown(storage.join(uri, page.file))
            for name, uri in self.stages.items()
            for page in ALL_STAGES[name].pages
        }

    @property
    def model(self) -> Model:
        """The model that the run has trained.

        Raises:
            DataError: The run has not trained a model.
        """
        return Model(self.manifest("train"))

    def manifest(self, stage: str) -> Manifest:
        """Return the manifest of the attempt that the run uses for a stage: files, metrics, ledger, inputs, versions.

        Raises:
            DataError: The run has not done the stage, or the attempt was removed.
        """
        pin = read_pin(layout.pin_uri(self.uri, stage))
        if pin is None:
            raise DataError(f"Run {self.id} has not done stage {stage}.", "Run the stage, or name another run.")
        return load_manifest(pin.attempt)


def shown(uri: str) -> str:
    """Return the local path of a URI, or the URI itself if it is not on this machine."""
    return str(storage.local_path(uri) or uri)
