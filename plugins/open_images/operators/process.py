"""The operator that runs a stage in a separate Python process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ml.workflow.supervision import end_process_tree
from open_images.operators.stage import JobFailedError, StageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ProcessStageOperator(StageOperator):
    """Run a stage of a flow in a separate Python process (`python -m ml <stage>`), unless it is already done."""

    _hook: Any = None

    def run_job(self, context: Context, attempt: str) -> None:
        """Run the command and wait for it to end."""
        from airflow.providers.standard.hooks.subprocess import SubprocessHook

        self._hook = SubprocessHook()
        result = self._hook.run_command(
            [sys.executable, "-m", "ml", self.stage, *self.job_arguments(attempt)],
            env={**os.environ, **self.job_environment()},
            cwd=os.getcwd(),  # OPEN_IMAGES_CONFIG may be relative to it
        )
        if result.exit_code:
            raise JobFailedError(f"Stage {self.stage} ended with exit code {result.exit_code}.")

    def on_kill(self) -> None:
        """End the process and everything it started."""
        process = getattr(self._hook, "sub_process", None)
        if process is not None:
            end_process_tree(process.pid)
