"""Run the training DAG once, in this process' terminal, on a small release: `make demo`.

Airflow's `dag.test()` runs the real DAG, with a spark-submit for each Spark stage; only the scheduler and the web
pages, which `make up` starts, are missing. Stages that an earlier run has done are reused.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from airflow_environment import ROOT, ensure_deployment, environment, migrate
from ml.commands.summary import metrics_table
from ml.config.command_help import in_force
from ml.config.deployment import DEPLOYMENT_VARIABLE, load_deployment
from ml.config.forms import with_options
from ml.config.parameter import validate
from ml.config.training import TrainingConfig
from ml.errors import StageError, TransientError
from ml.metrics.records import EvaluationRecord
from ml.public.run import shown
from ml.report.subject import subject
from ml.storage import local_path, normalize
from ml.workflow.layout import run_uri
from ml.workflow.run import Run, load_run, slug

LOG = ROOT / "var" / "demo.log"
TASK = re.compile(r"\[DAG TEST\] (starting|end task) task_id=(\S+)")
# A line of the training's log, see `ml.training`; Airflow adds at its end where it was logged.
EPOCH = re.compile(r"epoch (\d+)/(\d+): (?:loss .*?; )?(.*?)(?: \[airflow\.|$)")
TOLD_SECONDS = 10.0
FAILURE = re.compile(r"^airflow\.sdk\.exceptions\.\w+: (.*)")


@with_options(TrainingConfig)
def demo(values: dict[str, Any]) -> None:
    """Run the training DAG once, without a scheduler, on a drawn release or on yours (`--release`)."""
    started = time.monotonic()
    os.environ.update(environment(ROOT))
    ensure_deployment(ROOT)
    # Before the database is created, so that a wrong value is reported at once, not after half a minute.
    deployment = load_deployment()
    config = validate({name: _absolute(name, value) for name, value in values.items()}, deployment.defaults)
    print(f"The release is {shown(config.release)}.", flush=True)
    migrate(ROOT)
    try:
        state, run_id, failure = watch(config.model_dump(mode="json", include=set(values)))
    except KeyboardInterrupt:
        print("Stopping takes a few seconds. The next run reuses the stages that are done.", file=sys.stderr)
        raise
    if state != "success":
        raise TransientError(f"The run failed. {failure or 'See its log.'}", f"The whole log: {LOG}")
    show(load_run(run_uri(deployment.storage, slug(run_id))), time.monotonic() - started)


def _absolute(name: str, value: Any) -> Any:
    return normalize(value) if name in ("release", "photographs") else value


def run_dag(values: dict[str, Any]) -> tuple[str, str]:
    """Run the DAG to its end; return its state and run id."""
    sys.path += [str(ROOT / "dags"), str(ROOT / "plugins")]
    from open_images_training import dag

    run = dag.test(run_conf=values)
    return str(run.state), str(run.run_id)


def watch(values: dict[str, Any]) -> tuple[str, str, str]:
    """Run the DAG in another process; write its long log to a file, and print one line per task and the training.

    Returns:
        The run's state, its id, and the message of the last failure.
    """
    code = f"import json, sys; from demo import run_dag; print(json.dumps(run_dag(json.loads({json.dumps(values)!r}))))"
    command = [sys.executable, "-c", code]
    begun, last, failure = time.monotonic(), "", ""
    training = TrainingLine()
    with (
        training,
        LOG.open("w") as log,
        subprocess.Popen(
            command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            log.write(line)
            last = line
            if failed := FAILURE.match(line):
                failure = failed[1]
                print(f"  {failure}", flush=True)
            elif (event := TASK.search(line)) and event[1] == "starting":
                begun = time.monotonic()
            elif epoch := EPOCH.search(line):
                training.tell(f"  epoch {epoch[1]} of {epoch[2]}: {epoch[3]}")
            elif event:
                training.clear()
                print(f"{event[2]:<18} {time.monotonic() - begun:6.1f} s", flush=True)
    if child.returncode:
        return "crashed", "", failure or last.strip()
    state, run_id = json.loads(last)
    return state, run_id, failure


class TrainingLine:
    """Shows how far the training has come: one line that changes on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self._console = Console()
        self._status = self._console.status("")
        self._told = 0.0

    def __enter__(self) -> TrainingLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def tell(self, text: str) -> None:
        """Show a line; without a terminal, skip it if one was printed just before."""
        if self._console.is_terminal:
            self._status.update(text)
            self._status.start()
        elif time.monotonic() - self._told >= TOLD_SECONDS:
            self._told = time.monotonic()
            print(text, flush=True)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        self._status.stop()


def show(run: Run, seconds: float) -> None:
    """Print the run's metrics with intervals, and the paths of the report and the model."""
    evaluated = run.pinned("evaluate")
    metrics = evaluated.metrics
    title = f"{subject(run.config).heading}, test split"
    Console().print(metrics_table(evaluated.record(EvaluationRecord), title))
    explored = run.pinned("explore").metrics["report"]
    print(f"Data:   {local_path(explored) or explored}")
    print(f"Report: {local_path(metrics['report']) or metrics['report']}")
    print(f"Model:  {local_path(metrics['model']) or metrics['model']}")
    print(f"Done in {seconds:.0f} s.")


def main() -> None:
    """Run the command; print an expected error as one line without a traceback."""
    deployment = ROOT / "var" / "deployment.yaml"
    if deployment.exists():
        os.environ.setdefault(DEPLOYMENT_VARIABLE, str(deployment))  # for the help, which shows the values in force
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=in_force(TrainingConfig))(demo)
    try:
        app()
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
