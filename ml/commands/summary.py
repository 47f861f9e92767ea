"""What commands print of a run: its main numbers, and where its pages are."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ml.metrics.estimate import Proportion
from ml.metrics.records import EvaluationRecord
from ml.public.run import Run, shown
from ml.report.subject import subject_of


def print_run(run: Run, console: Console) -> None:
    """Print the main metrics of a run with intervals, and the paths or URIs of its pages and its model."""
    stages = run.stages
    console.print(f"[bold]{run.id}[/bold], {run.flow}: {', '.join(stages) or 'no stage'} done", soft_wrap=True)
    if "evaluate" in stages:
        about = subject_of(run.parameters["chip_class"], run.parameters["labels"])
        console.print(metrics_table(run.summary, f"{about.heading}, test split"))
    if "predict" in stages:
        faces = run.manifest("predict").metrics.get("faces", {})
        console.print("faces: " + ", ".join(f"{count:,} {label}" for label, count in faces.items()))
    rows = dict(run.pages)
    if "train" in stages:
        rows["Model"] = shown(run.model.uri)
    if "predict" in stages:
        rows["Annotated photographs"] = shown(str(run.manifest("predict").metrics.get("sample", "")))
    width = max(map(len, rows), default=0) + 2
    for title, place in rows.items():
        console.print(f"{title + ':':<{width}}{place}", soft_wrap=True, highlight=False)


def main_metrics(record: EvaluationRecord) -> list[tuple[str, Proportion]]:
    """Return the name and the estimate of each metric that commands print, without those that are not defined."""
    rows: list[tuple[str, Proportion]] = [
        ("accuracy", record.accuracy),
        (f"always {record.majority.label} (baseline)", record.majority),
    ]
    for label, of_label in record.by_label.items():
        rows += [(f"{name} {label}", getattr(of_label, name)) for name in ("precision", "recall", "f1")]
    rows.append(("area under the ROC curve", record.auc))
    return [(name, estimate) for name, estimate in rows if estimate.value is not None]


def metrics_table(record: EvaluationRecord, title: str) -> Table:
    """Return a table of the main metrics with 95% intervals."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    if not record.beats_majority:
        table.caption = f"No better than always answering {record.majority.label}, as far as these faces can tell."
    for column in ("metric", "value", "95% interval", "faces"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, estimate in main_metrics(record):
        interval = "" if estimate.low is None else f"{estimate.low:.3f} to {estimate.high:.3f}"
        table.add_row(name, f"{estimate.defined:.3f}", interval, f"{estimate.count:,}")
    return table
