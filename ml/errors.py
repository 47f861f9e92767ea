"""Errors that say what is wrong and what to do, classified by whether a retry can help."""

from __future__ import annotations

from typing import ClassVar


class StageError(Exception):
    """Base class of the errors that a stage reports in its `error.json`.

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
    """The input is wrong. It would fail again, so the task is not retried."""

    kind = "data"


class ConfigurationError(StageError):
    """A parameter or a setting of the machine is wrong. The task is not retried."""

    kind = "configuration"


class UndeclaredReadError(ConfigurationError):
    """A stage reads a parameter or another stage's output without declaring it in the table of stages."""


class ResourceError(StageError):
    """Disk space, memory or a program is missing. The task is not retried, because a person must act first."""

    kind = "resource"


class TransientError(StageError):
    """A temporary fault, such as a lost connection or worker. A retry may help."""

    kind = "passing"


class NothingNewError(StageError):
    """No delivery is dated in the interval of a scheduled run. There is nothing to do, and nothing is wrong."""

    kind = "nothing new"


class GuardError(DataError):
    """Base class for failed checks against training or evaluating on the wrong data without notice."""


class LabelOrderError(GuardError):
    """Two places number the labels differently."""


class SplitLeakError(GuardError):
    """Faces of one image are in more than one split."""


class ProvenanceError(GuardError):
    """Faces differ from the output of the previous stage, or are not valid labeled faces."""


class PreprocessingError(GuardError):
    """Pixels differ from what the network expects in channel order, range, type or size."""


class MetricsError(GuardError):
    """A metric does not measure what its name says."""
