"""The pages of stages explore, evaluate, suspects and compare: self-contained HTML files."""

from __future__ import annotations

import datetime

import jinja2

from ml.flow.reasons import explain
from ml.metrics.calibration import FACES_PER_BIN
from ml.metrics.records import EvaluationMetrics
from ml.metrics.shift import LARGE_PSI, MODERATE_PSI, SIGNIFICANCE
from ml.report.calibration import temperature_line, threshold_line
from ml.report.captions import caption, part_of
from ml.report.credits import are_drawn, drawn_line
from ml.report.data import ComparisonData, ExplorationData, MonitoringData, ReportData, SuspectsData, SweepData
from ml.report.drift import drift_line, reference_name, shift_rows, table_rows, title_of
from ml.report.formats import (
    data_uri,
    duration,
    fixed,
    instant,
    number,
    p_value,
    percent,
    points,
    signed_number,
    signed_percent,
    threshold,
)
from ml.report.ledger import parameters

LIMITS = {"psi": (MODERATE_PSI, LARGE_PSI), "p": SIGNIFICANCE}


def templates() -> jinja2.Environment:
    """Return the environment of the package's templates, which escapes HTML and raises on undefined names."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ml.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = {"percent": percent, "points": points, "fixed": fixed}
    environment.filters |= formats | {
        "number": number,
        "threshold": threshold,
        "p_value": p_value,
        "signed_number": signed_number,
        "signed_percent": signed_percent,
        "when": lambda text: instant(datetime.datetime.fromisoformat(text)),
        "apply": lambda value, name: formats[name](value),
        "data_uri": data_uri,
        "instant": instant,
        "duration": duration,
        "drift_title": title_of,
    }
    environment.globals |= {"caption": caption, "part_of": part_of, "drift_line": drift_line}
    environment.globals |= {"temperature_line": temperature_line, "threshold_line": threshold_line}
    environment.globals |= {"drawn": are_drawn, "drawn_line": drawn_line}
    environment.globals |= {"reference_name": reference_name, "shift_rows": shift_rows, "table_rows": table_rows}
    return environment


def render_report(data: ReportData) -> str:
    """Return the report's HTML; sections without data are left out."""
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            data=data,
            subject=data.subject,
            config=data.config,
            metrics=data.metrics,
            figures=data.figures,
            training=data.training,
            scale=_scale(data.metrics),
            total_faces=sum(sum(faces.values()) for faces in data.splits.values()) + sum(data.left_out.values()),
            parameters=parameters(data.config.model_dump(mode="json")),
            faces_per_bin=FACES_PER_BIN,
            limits=LIMITS,
        )
    )


def render_exploration(data: ExplorationData) -> str:
    """Return the HTML page that shows the data of a run; sections without data are left out."""
    return templates().get_template("explore.html.j2").render(data=data, subject=data.subject, explain=explain)


def render_comparison(data: ComparisonData) -> str:
    """Return the HTML page that compares two models."""
    return (
        templates()
        .get_template("compare.html.j2")
        .render(data=data, subject=data.subject, comparison=data.comparison, figures={"differences": data.plot})
    )


def render_suspects(data: SuspectsData) -> str:
    """Return the HTML page of the labels that the model contradicts."""
    faces, suspects = sum(row.faces for row in data.counts), sum(row.suspects for row in data.counts)
    return (
        templates()
        .get_template("suspects.html.j2")
        .render(data=data, subject=data.subject, figures=data.figures, faces=faces, suspects=suspects)
    )


def render_monitoring(data: MonitoringData) -> str:
    """Return the HTML page that compares a bulk prediction with its model's training."""
    return templates().get_template("monitoring.html.j2").render(data=data, limits=LIMITS)


def render_sweep(data: SweepData) -> str:
    """Return the HTML page that compares the trainings of a sweep."""
    return templates().get_template("sweep.html.j2").render(data=data, subject=data.subject)


def _scale(metrics: EvaluationMetrics) -> dict[str, float]:
    """Return the range of the headline's scale, in shares: wide enough for interval and baseline, with some margin."""
    low = max(0.0, min(0.5, metrics.accuracy.low, metrics.accuracy.high, metrics.majority.value) - 0.05)
    return {"low": low, "span": 1.0 - low}
