"""Sentences about the temperature and the threshold of a model: what was kept, and why."""

from __future__ import annotations

from ml.metrics.calibration import TEMPERATURES, THRESHOLDS
from ml.model.record import FittedValue
from ml.report.formats import fixed, points, signed, threshold

PLAIN = 0.5  # the threshold that no fit has moved
AT_A_LIMIT = 0.01  # relative distance from a limit of the fit


def temperature_line(choice: FittedValue) -> str:
    """Say which temperature the model has, and why."""
    if choice.fitted == 1.0:
        return (
            "The temperature is 1: on the validation split no other one lowers the log loss, or the network makes no "
            "mistake there, which does not show how sure it should be."
        )
    change = (
        f"changes the log loss of validation photographs held out from its fit by {signed(-choice.gain)} nats per chip;"
        f" chance alone gives up to {fixed(choice.noise)}"
    )
    if not choice.is_fitted:
        line = f"The temperature is 1, as trained: the fitted one, {fixed(choice.fitted)}, {change}."
        return f"{line} That is not better by more than noise."
    line = f"The temperature is {fixed(choice.fitted)}: it {change}."
    return line + _limit("temperature", choice.fitted, TEMPERATURES, "the network hardly tells the labels apart")


def threshold_line(choice: FittedValue) -> str:
    """Say which threshold the model has, and why."""
    if choice.fitted == PLAIN:
        return "The threshold is 0.5: on the validation split the recalls of the labels are equal there."
    gap, chance = (points(value).lstrip("+") for value in (choice.gain, choice.noise))
    why = (
        f"at 0.5 the recalls of the labels differ by {gap} points on the validation split; "
        f"chance alone gives up to {chance}"
    )
    if not choice.is_fitted:
        return f"The threshold is 0.5 and not the fitted {threshold(choice.fitted)}: {why}."
    line = f"The threshold is {threshold(choice.fitted)}, at which they are equal: {why}."
    if choice.gain <= choice.noise:
        line += " With so many photographs it is used anyway: on average it brings the recalls of new faces closer."
    return line + _limit("threshold", choice.fitted, THRESHOLDS, "the network nearly always prefers one label")


def _limit(name: str, value: float, limits: tuple[float, float], meaning: str) -> str:
    """Return a further sentence if a fitted value is at a limit of the fit."""
    for limit in limits:
        if abs(value - limit) <= AT_A_LIMIT * limit:
            return f" This is the limit of the fit, {limit:g}: {meaning}. Do not trust this {name}; train longer."
    return ""
