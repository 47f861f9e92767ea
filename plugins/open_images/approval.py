"""The operator that asks a person whether a candidate becomes champion."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from ml.flow.table import find_page
from open_images.addresses import report_page, report_tab
from open_images.errors import skip

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"
# Link texts for the pages that the verdict refers to.
PAGES = {"report": "Report of the candidate", "comparison": "Comparison with the champion"}


class VerdictApprovalOperator(HITLOperator):
    """Ask a person to approve or reject a candidate that passed the gate; no answer in time is a rejection.

    Unlike `ApprovalOperator`, this operator succeeds on a rejection too, so that the next task can record it.

    Args:
        verdict: The task that pushes the verdict, with `passed`, `markdown` and `reports`; the question links to those.
        mode: `approve`, or `automatic` to skip the question. (templated)
        hours: Time allowed for an answer. (templated)
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
        """Ask the question, or skip the task if no answer is needed."""
        verdict = context["ti"].xcom_pull(task_ids=self.verdict)
        if not verdict["passed"]:
            raise skip("The gate refused the candidate, so no approval is needed.")
        if self.mode == "automatic":
            raise skip("Mode automatic: no approval is needed.")
        self.response_timeout = datetime.timedelta(hours=float(self.hours))
        run = context["dag_run"]
        pages = [f"[Verdict, models and curves]({report_tab(run.dag_id, run.run_id)})"]
        pages += (
            f"[{title}]({report_page(run.dag_id, run.run_id, find_page(name)[0].name)})"
            for name, title in PAGES.items()
            if name in verdict["reports"]
        )
        self.body = f"{self.body}\n\n{' · '.join(pages)}"
        return super().execute(context)
