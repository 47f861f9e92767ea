"""Runs of a sweep: one that prepares the data, and one of the training flow for each training.

The run of the sweep has a configuration of its own and does the data stages. The runs of its trainings, its members,
differ only in their parameters: they have the same deliveries and reference, and adopt the data stages' attempts. Any
member can be evaluated and promoted like another training run.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from ml.config.roots import Roots, validate_below
from ml.config.sweep import Cell, SweepConfig, cells
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.flow.stage import Stage
from ml.flow.table import STAGES
from ml.workflow import layout
from ml.workflow.opening import FindReference, prepare_run, resolved, without_reference
from ml.workflow.reference import read_reference, write_reference
from ml.workflow.run import FlowRun, Run, load_run, slug

FLOW = "sweep"
DATA = tuple(stage for stage in STAGES.values() if stage.engine == "spark")


def open_sweep(
    root: str,
    run_id: str,
    values: dict[str, Any],
    as_of: datetime.datetime | None = None,
    defaults: TrainingConfig | None = None,
    find_reference: FindReference = without_reference,
    roots: Roots | None = None,
) -> FlowRun[SweepConfig]:
    """Validate the parameters of a sweep and of all its trainings, find the deliveries and write the run folder.

    Args:
        root: The storage root.
        run_id: The sweep's id.
        values: Parameters that override the defaults.
        as_of: Use deliveries dated before this time; see `open_run`.
        defaults: The deployment's defaults of a training.
        find_reference: Finds the earlier run that the data are compared with.
        roots: The places that parameters may name; None: any.

    Raises:
        ConfigurationError: A parameter of the sweep or of a training is invalid.
        DataError: The release is missing or malformed, or no delivery is dated before `as_of`.
    """
    plain = (defaults or TrainingConfig()).model_copy(update={"force": None, "baseline": None})
    config = validate_below(values, SweepConfig(**plain.model_dump()), roots)
    for cell in cells(config.grid, config.seeds, config.seed):
        resolved(root, validate_below(config.training(cell), plain, roots))
    prepared, reference = prepare_run(
        root, run_id, TrainingConfig(**config.training()), as_of, find_reference=find_reference
    )
    sweep = FlowRun(
        root=prepared.root,
        slug=slug(run_id, FLOW),
        run_id=run_id,
        config=SweepConfig(**prepared.config.model_dump(), grid=config.grid, seeds=config.seeds),
        sources=prepared.sources,
        as_of=prepared.as_of,
        deliveries=prepared.deliveries,
    )
    sweep.write()
    write_reference(sweep.uri, reference)
    return sweep


def open_members(uri: str) -> list[str]:
    """Open the runs of a sweep's trainings, once the sweep has done the data stages.

    Args:
        uri: The run folder of the sweep.

    Returns:
        Their run folders, in the order of the cells.

    Raises:
        DataError: A data stage has not been done, or its attempt was removed.
    """
    sweep: FlowRun[SweepConfig] = load_run(uri)
    reference = read_reference(uri)
    members = []
    for cell in cells(sweep.config.grid, sweep.config.seeds, sweep.config.seed):
        member = _member(sweep, cell)
        member.write()
        write_reference(member.uri, reference)
        for stage in DATA:
            _adopt(member, stage)
        members.append(member.uri)
    return members


def member_uri(root: str, run_id: str, number: int) -> str:
    """Return the run folder of a sweep's training.

    Args:
        root: The storage root.
        run_id: The sweep's id.
        number: The number of the training's cell.
    """
    return layout.run_uri(root, slug(_member_id(run_id, number)))


def _member(sweep: FlowRun[SweepConfig], cell: Cell) -> Run:
    run_id = _member_id(sweep.run_id, cell.number)
    config = TrainingConfig(**sweep.config.training(cell))
    fields = {field.name: getattr(sweep, field.name) for field in dataclasses.fields(sweep)}
    return Run(**{**fields, "slug": slug(run_id), "run_id": run_id, "config": config})


def _adopt(run: Run, stage: Stage) -> None:
    if run.find_or_adopt(stage) is None:
        raise DataError(
            f"Stage {stage.name} of run {run.run_id} is not done, or was removed.", "Start the sweep again."
        )


def _member_id(run_id: str, number: int) -> str:
    return f"{run_id}.{number}"
