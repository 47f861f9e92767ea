"""Do one stage of a run in this process."""

from __future__ import annotations

import importlib
from typing import Any

from ml.flow.stage import Stage
from ml.workflow import execution
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from ml.workflow.run import FlowRun


def run_stage(run: FlowRun[Any], stage: Stage, attempt: str | None = None) -> Manifest:
    """Do a stage's work for a run, unless it is already done, and return its manifest.

    Args:
        run: The run.
        stage: A stage that runs as a process.
        attempt: The attempt's name; by default a new one.

    Raises:
        StageError: The work failed.
    """

    def body(context: Context) -> Result:  # imports TensorFlow only if there is work to do
        module, _, name = stage.body.partition(":")
        result: Result = getattr(importlib.import_module(module), name)(context)
        return result

    return execution.run_stage(run, stage, body, attempt)
