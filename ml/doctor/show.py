"""Print the findings of the checks."""

from __future__ import annotations

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.doctor.finding import Finding

COLORS = {"ok": "green", "warning": "yellow", "fault": "red"}


def show(findings: list[Finding], as_json: bool = False) -> None:
    """Print findings as a table, or as JSON."""
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=2))
        return
    table = Table()
    for title in ("check", "", "found", "what to do"):
        table.add_column(title, overflow="fold")  # wrap long paths instead of cutting them off
    for finding in findings:
        state = f"[{COLORS[finding.state]}]{finding.state}"
        table.add_row(finding.check, state, escape(finding.found), escape(finding.advice))
    Console().print(table)
