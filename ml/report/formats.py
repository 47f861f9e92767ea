"""Formatting of numbers in reports, cards, verdicts and figures."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable

from ml.metrics.estimate import Proportion

NOTHING = "–"  # shown if there is no number


def duration(time: datetime.timedelta) -> str:
    """Format a duration in its two largest units."""
    seconds = round(time.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def instant(time: datetime.datetime) -> str:
    """Format an instant in UTC to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def percent(value: float | None) -> str:
    """Format a share as a percentage."""
    return NOTHING if value is None else f"{value:.1%}"


def points(value: float | None) -> str:
    """Format a difference of shares in percentage points, with its sign."""
    return NOTHING if value is None else _minus(f"{100 * value:+.1f}")


def number(value: int) -> str:
    """Format a whole number with thousands separators."""
    return f"{value:,}"


def signed_number(value: int) -> str:
    """Format a difference of whole numbers with its sign and thousands separators."""
    return _minus(f"{value:+,}")


def fixed(value: float | None) -> str:
    """Format a number with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Format a difference with three decimals and its sign."""
    return NOTHING if value is None else _minus(f"{value:+.3f}")


def p_value(value: float | None) -> str:
    """Format the p-value of a test."""
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def signed_percent(value: float | None) -> str:
    """Format a relative change as a percentage with its sign."""
    return NOTHING if value is None else _minus(f"{value:+.0%}")


def threshold(value: float) -> str:
    """Format a configured probability with up to three significant digits."""
    return f"{value:.3g}"


def with_interval(value: Proportion, text: Callable[[float | None], str], without: str = " (no interval)") -> str:
    """Format a number with its interval.

    Args:
        value: The number.
        text: Formats a single number.
        without: Text to append if the number has no interval.
    """
    if value.value is None:
        return NOTHING
    if value.low is None:
        return text(value.value) + without
    return f"{text(value.value)} ({text(value.low)} to {text(value.high)})"


def data_uri(picture: bytes) -> str:
    """Return an SVG, PNG or JPEG file as a data URI."""
    kind = "jpeg" if picture.startswith(b"\xff\xd8") else "svg+xml" if _is_svg(picture) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def file_of(name: str, picture: bytes) -> str:
    """Return the name of the file of a figure: plots are SVG, sheets of photographs or chips PNG."""
    return f"{name}.{'svg' if _is_svg(picture) else 'png'}"


def figure_name(path: str) -> str | None:
    """Return the name of the figure in a file of an attempt, None for any other file."""
    name, _, suffix = path.rpartition(".")
    return name if suffix in ("svg", "png") else None


def _is_svg(picture: bytes) -> bool:
    return picture.lstrip().startswith((b"<?xml", b"<svg"))


def _minus(text: str) -> str:
    return text.replace("-", "−")
