"""Landings with drawn photographs: sealed deliveries that share no image."""

from pathlib import Path

from ml.release import note as note_module
from ml.sample.release import write_sample_release


def deliver(landing: Path, date: str, scenes: int) -> Path:
    """Write and seal the delivery of a date, with scenes that no other month's delivery has."""
    year, month, _ = map(int, date.split("-"))
    write_sample_release(landing / date, scenes=scenes, seed=12 * (year - 2020) + month)
    note_module.seal(str(landing / date))
    return landing / date
