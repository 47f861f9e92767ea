"""How numbers are written in reports, cards, verdicts and figures."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable

from ml.metrics.estimate import Proportion

NOTHING = "–"  # what stands where there is no number


def duration(time: datetime.timedelta) -> str:
    """Write a duration in its two largest units."""
    seconds = round(time.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def instant(time: datetime.datetime) -> str:
    """Write an instant, which is in UTC, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def percent(value: float | None) -> str:
    """Write a share in per cent."""
    return NOTHING if value is None else f"{value:.1%}"


def points(value: float | None) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    return NOTHING if value is None else _minus(f"{100 * value:+.1f}")


def number(value: int) -> str:
    """Write a whole number with its thousands separated."""
    return f"{value:,}"


def fixed(value: float | None) -> str:
    """Write a number with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Write a difference with three decimals and its sign."""
    return NOTHING if value is None else _minus(f"{value:+.3f}")


def threshold(value: float) -> str:
    """Write a probability that is set, with as many digits as it needs up to three."""
    return f"{value:.3g}"


def with_interval(value: Proportion, text: Callable[[float | None], str], without: str = " (no interval)") -> str:
    """Write a number with its interval.

    Args:
        value: The number.
        text: How a number is written.
        without: What is added where it has no interval.
    """
    if value.value is None:
        return NOTHING
    if value.low is None:
        return text(value.value) + without
    return f"{text(value.value)} ({text(value.low)} to {text(value.high)})"


def data_uri(png: bytes) -> str:
    """Write a PNG file as a URI that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
