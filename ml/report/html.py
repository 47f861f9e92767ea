"""The report of an evaluation: one HTML file that holds all it shows and asks for nothing from elsewhere."""

from __future__ import annotations

import jinja2

from ml.metrics.records import EvaluationMetrics
from ml.report.captions import caption, part_of
from ml.report.data import ComparisonData, ReportData
from ml.report.formats import data_uri, duration, fixed, instant, number, percent, points, threshold
from ml.report.ledger import parameters


def templates() -> jinja2.Environment:
    """Return the package's templates. What comes from a release is escaped; a name that is not there is an error."""
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
        "apply": lambda value, name: formats[name](value),
        "data_uri": data_uri,
        "instant": instant,
        "duration": duration,
    }
    environment.globals |= {"caption": caption, "part_of": part_of}
    return environment


def render_report(data: ReportData) -> str:
    """Write the report's HTML; parts for which there is no data are left out."""
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
            total_faces=sum(sum(faces.values()) for faces in data.splits.values()),
            parameters=parameters(data.config.model_dump(mode="json")),
        )
    )


def render_comparison(data: ComparisonData) -> str:
    """Write the HTML of a comparison of two models."""
    return (
        templates()
        .get_template("compare.html.j2")
        .render(data=data, subject=data.subject, comparison=data.comparison, figures={"differences": data.plot})
    )


def _scale(metrics: EvaluationMetrics) -> dict[str, float]:
    """Return the range of the headline's scale, in shares: wide enough for interval and baseline, with some air."""
    low = max(0.0, min(0.5, metrics.accuracy.low, metrics.accuracy.high, metrics.majority.value) - 0.05)
    return {"low": low, "span": 1.0 - low}
