"""Run the training DAG once, here and now, on a small release: what `make demo` does.

The DAG itself runs, by Airflow's `dag.test()`, with its own spark-submit for each Spark stage; only the scheduler and the
web pages are missing, which `make up` starts. What was done before is found done.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import typer
from local_airflow import ROOT, ensure_deployment, environment, migrate

from ml.config import load_deployment, parse_config
from ml.errors import PassingError, StageError
from ml.forms import with_run_options
from ml.runs import Run, load_run, slug
from ml.storage import join, local_path, normalise


@with_run_options
def demo(values: dict[str, Any]) -> None:
    """Run the training DAG once, without a scheduler, on a drawn release or on yours (`--release`)."""
    started = time.monotonic()
    os.environ.update(environment(ROOT))
    ensure_deployment(ROOT)
    # Before Airflow is made ready: a wrong value should not take half a minute to be told.
    config = parse_config({name: _absolute(name, value) for name, value in values.items()})
    migrate(ROOT)
    state, run_id = run_dag(config.model_dump(mode="json", include=set(values)))
    if state != "success":
        raise PassingError("The run failed; the log above says where, and what to do.")
    show(load_run(join(load_deployment().storage, "runs", slug(run_id))), time.monotonic() - started)


def _absolute(name: str, value: Any) -> Any:
    return normalise(value) if name in ("release", "photographs") else value


def run_dag(values: dict[str, Any]) -> tuple[str, str]:
    """Run the DAG to its end; return its state and run id."""
    sys.path += [str(ROOT / "dags"), str(ROOT / "plugins")]
    from open_images_training import dag

    run = dag.test(run_conf=values)
    return str(run.state), str(run.run_id)


def show(run: Run, seconds: float) -> None:
    """Print the run's metrics with intervals, and where the report lies."""
    pins = run.pins()
    metrics = pins["evaluate"].metrics
    print(metrics)


def main() -> None:
    """Run the command; a failure that is understood is one line, not a traceback."""
    try:
        typer.run(demo)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
