"""Do all stages of a training run in order, on this machine: the command `run`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ml import storage
from ml.commands.jobs import failure_of, job_command, job_environment, run_job
from ml.config.deployment import Deployment
from ml.flow.stage import Stage
from ml.flow.table import STAGES
from ml.workflow import layout
from ml.workflow.attempt import new_attempt
from ml.workflow.execution import attempt_uri, wait_for_others
from ml.workflow.run import Run


class Outcome(NamedTuple):
    """What became of a stage: `done` by a job, `found` done by an earlier run, or `skipped`."""

    stage: str
    state: str
    seconds: float


def do_stages(run: Run, deployment: Deployment, master: str, console: Console) -> None:
    """Do the stages of a run in order, and print one line for each.

    Args:
        run: The run.
        deployment: The deployment's settings.
        master: Spark's master, on this machine.
        console: Where to print.

    Raises:
        StageError: A stage failed.
    """
    path = Path(tempfile.gettempdir(), f"open-images-{run.slug}.log")
    console.print(f"The log of the jobs: {path}", soft_wrap=True)
    with path.open("w", encoding="utf-8") as log:
        for number, stage in enumerate(STAGES.values(), start=1):
            with _progress(f"{stage.name} ({number} of {len(STAGES)})", stage.purpose, console) as show:
                outcome = do_stage(run, stage, deployment, master, log, show)
            time_taken = f"{outcome.seconds:8.1f} s" if outcome.state == "done" else f"{outcome.state:>10}"
            console.print(f"{outcome.stage:<12}{time_taken}", highlight=False)


def do_stage(
    run: Run, stage: Stage, deployment: Deployment, master: str, log: TextIO, on_message: Callable[[str], None]
) -> Outcome:
    """Do a stage in a job of its own, unless it is already done or the run does not ask for it.

    Args:
        run: The run.
        stage: The stage.
        deployment: The deployment's settings.
        master: Spark's master, on this machine.
        log: Where the output of the job goes.
        on_message: Is called with each message of the job about its work.

    Raises:
        StageError: The stage failed.
    """
    started = time.monotonic()
    if stage.only_with and not getattr(run.config, stage.only_with):
        return Outcome(stage.name, "skipped", 0.0)
    if wait_for_others(run, stage):
        return Outcome(stage.name, "found", time.monotonic() - started)
    attempt = new_attempt()
    uri = attempt_uri(run, stage, attempt)
    command = job_command(stage, run.uri, attempt, deployment, master)
    log.write(f"--- {stage.name}\n")
    code = run_job(command, job_environment(stage), log, on_message)
    # Another run's job may have been quicker.
    if code or not (storage.exists(layout.manifest_uri(uri)) or run.find_or_adopt(stage)):
        raise failure_of(uri, f"Stage {stage.name} ended with exit code {code}.", Path(log.name))
    return Outcome(stage.name, "done", time.monotonic() - started)


def local_master(cores: int | None) -> str:
    """Return Spark's master for this machine, with all cores by default."""
    return f"local[{cores or len(os.sched_getaffinity(0))}]"


@contextmanager
def _progress(title: str, purpose: str, console: Console) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is under way and for how long; yield the function that replaces the text after it."""
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{title}: {purpose}", total=None)
        yield lambda message: progress.update(task, description=f"{title}: {escape(message)}")
