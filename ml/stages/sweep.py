"""Stage sweep: compares the trainings of a sweep, and chooses the best by the validation split.

It writes the files `sweep.html` and `sweep.csv`.
"""

from __future__ import annotations

import csv
import datetime
import io
import logging

from ml import storage
from ml.config.sweep import Cell, SweepConfig, cells
from ml.metrics.sweep import SweepRecord, SweepResult, Trained, compare_trainings
from ml.model.record import TrainingRecord
from ml.report.data import SweepData
from ml.report.html import render_sweep
from ml.report.subject import subject_of
from ml.workflow.execution import FlowContext, Result
from ml.workflow.run import load_run
from ml.workflow.sweep import member_uri

log = logging.getLogger(__name__)
SCORES = ("seed", "loss", "accuracy", "best_epoch", "seconds", "run")


def sweep(context: FlowContext[SweepConfig]) -> Result:
    """Compare the trainings of a sweep, which all have to be done.

    Raises:
        DataError: A training has not been done, or was removed.
    """
    config, run = context.config, context.run
    trained, faces = [], 0
    for cell in cells(config.grid, config.seeds, config.seed):
        uri = member_uri(run.root, run.run_id, cell.number)
        record = load_run(uri).pinned("train").record(TrainingRecord)
        trained.append(_trained(cell, uri, record))
        faces = record.validation.faces
    result = compare_trainings(trained, faces)
    data = SweepData(
        run_id=run.run_id,
        subject=subject_of(config.chip_class, config.labels),
        written=datetime.datetime.now(datetime.UTC),
        names=tuple(config.grid),
        result=result,
    )
    storage.write_bytes(context.path("sweep.html"), render_sweep(data).encode())
    storage.write_bytes(context.path("sweep.csv"), _csv(data.names, result).encode())
    log.info("best: training %d, seed %d, %s", result.best.number, result.best.seed, result.best.values)
    return Result(SweepRecord(**dict(result), report=context.path("sweep.html"), table=context.path("sweep.csv")))


def _trained(cell: Cell, uri: str, record: TrainingRecord) -> Trained:
    return Trained(
        number=cell.number,
        run=uri,
        values=cell.values,
        seed=cell.seed,
        loss=record.validation.loss,
        accuracy=record.validation.accuracy,
        best_epoch=record.best_epoch,
        seconds=record.seconds,
    )


def _csv(names: tuple[str, ...], result: SweepResult) -> str:
    """Return all trainings as a CSV file, in the order of the page."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["number", *names, *SCORES])
    for combination in result.combinations:
        for each in combination.trainings:
            rows.writerow(
                [each.number, *(each.values[name] for name in names), *(getattr(each, name) for name in SCORES)]
            )
    return text.getvalue()
