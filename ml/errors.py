"""Failures that say what is wrong and what to do, sorted by whether trying again can help."""

from __future__ import annotations

from typing import ClassVar


class StageError(Exception):
    """Base of the failures that a stage reports in its `error.json`.

    Args:
        message: What is wrong and where, in one or two sentences.
        advice: What the reader can do about it.
    """

    kind: ClassVar[str] = "passing"

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class DataError(StageError):
    """The input is wrong: the same input fails again, so nothing is retried."""

    kind = "data"


class ConfigurationError(StageError):
    """A parameter or a setting of the machine is wrong: nothing is retried."""

    kind = "configuration"


class UndeclaredReadError(ConfigurationError):
    """A stage reads a parameter or a stage that its row in the table of stages does not declare."""


class ResourceError(StageError):
    """Disk, memory or a program is missing: nothing is retried until somebody has acted."""

    kind = "resource"


class TransientError(StageError):
    """A fault that may pass by itself, such as a lost connection or worker: a retry may help."""

    kind = "passing"


class NothingNewError(StageError):
    """No delivery came in the interval that a scheduled run is for: there is nothing to do, and nothing is wrong."""

    kind = "nothing new"


class GuardError(DataError):
    """Base of the guards against silently wrong learning: what was checked does not hold."""


class LabelOrderError(GuardError):
    """Two places disagree about which index stands for which label."""


class SplitLeakError(GuardError):
    """Faces of one image lie in more than one of training, validation and test."""


class ProvenanceError(GuardError):
    """Faces are not those that the stage before left, or not what they must be to count as labelled faces."""


class PreprocessingError(GuardError):
    """Pixels are not what the network was made for: channel order, range, type or size differ."""


class MetricsError(GuardError):
    """A figure does not count what its name says."""
