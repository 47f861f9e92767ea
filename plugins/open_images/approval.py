"""The operator that asks a person whether a candidate becomes champion."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowSkipException

from ml.flow.table import find_page
from open_images.addresses import report_page

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"
# What the question calls the pages that the verdict refers to.
PAGES = {"report": "Report of the candidate", "comparison": "Comparison with the champion"}


class VerdictApprovalOperator(HITLOperator):
    """Ask a person to approve or reject what has passed the gate; no answer in time is a rejection.

    Unlike `ApprovalOperator` it leaves it to the task after it to act on a rejection, which is to be recorded.

    Args:
        verdict: The task that pushes the verdict, with `passed`, `markdown` and `reports`; the question links those.
        mode: `approve`, or `automatic`, in which nobody is asked: the task is skipped. (templated)
        hours: So long the answer may take. (templated)
    """

    template_fields: Collection[str] = (*HITLOperator.template_fields, "mode", "hours")

    def __init__(self, *, verdict: str, mode: str, hours: str, **kwargs: Any) -> None:
        super().__init__(
            options=[APPROVE, REJECT],
            defaults=REJECT,
            body=f"{{{{ ti.xcom_pull(task_ids='{verdict}')['markdown'] }}}}",
            **kwargs,
        )
        self.verdict = verdict
        self.mode = mode
        self.hours = hours

    def execute(self, context: Context) -> Any:
        """Put the question, unless there is none."""
        verdict = context["ti"].xcom_pull(task_ids=self.verdict)
        if not verdict["passed"]:
            raise AirflowSkipException("The gate has refused the candidate, so nobody is asked.")
        if self.mode == "automatic":
            raise AirflowSkipException("Mode automatic: nobody is asked.")
        self.response_timeout = datetime.timedelta(hours=float(self.hours))
        run = context["dag_run"]
        pages = (
            f"[{title}]({report_page(run.dag_id, run.run_id, find_page(name)[0].name)})"
            for name, title in PAGES.items()
            if name in verdict["reports"]
        )
        self.body = f"{self.body}\n\n{' · '.join(pages)}"
        return super().execute(context)
