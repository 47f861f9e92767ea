"""What the deliveries of a landing hold, and the folder that a download fills."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Iterator

import polars as pl

from ml import storage
from ml.config.download import PICKING, DownloadConfig
from ml.download.picking import Pick
from ml.errors import ConfigurationError
from ml.flow.record import Record
from ml.release.landing import dated_folders, is_landing, midnight
from ml.release.note import NOTE
from ml.release.release import find_release

PLAN = "download.json"  # the picked images; written first, so that an interrupted download continues with the same ones
FAILURES = "failures.csv"
ATTRIBUTION = "attribution.csv"
FAILURE_COLUMNS = ("ImageID", "Subset", "Reason", "Lasting", "Detail")


class Plan(Record):
    """What a download has set out to fetch.

    Attributes:
        settings: The parameters that decided about it.
        pick: The images.
    """

    settings: dict[str, object]
    pick: Pick


def delivery_folder(landing: str, date: datetime.date) -> str:
    """Return the folder of a delivery, in a landing that exists or is new.

    Raises:
        ConfigurationError: The landing is a plain release folder, or the delivery's folder was made by something else.
    """
    uri = storage.normalize(landing)
    folder = storage.join(uri, date.isoformat())
    if storage.exists(uri) and not is_landing(uri):
        raise ConfigurationError(
            f"{uri} is not a landing: it holds a release, or other files.",
            "Set `landing` to a new folder, or to one that holds deliveries only.",
        )
    others = [storage.join(folder, name) for name in (PLAN, NOTE)]
    if storage.exists(folder) and not any(map(storage.exists, others)) and storage.list_files(folder):
        raise ConfigurationError(
            f"{folder} exists, but no download has begun it.", "Choose another date, or move the folder away."
        )
    return folder


def date_of_interval(start: datetime.datetime, end: datetime.datetime) -> datetime.date:
    """Return the date of the delivery of a data interval: the last day that begins in it, in UTC.

    So the training of the same interval sees the delivery.

    Raises:
        ConfigurationError: No day begins in the interval.
    """
    day = (end.astimezone(datetime.UTC) - datetime.timedelta(microseconds=1)).date()
    if midnight(day) < start:
        raise ConfigurationError(
            f"No day begins from {start:%Y-%m-%d %H:%M} to before {end:%Y-%m-%d %H:%M} UTC, and so the delivery has no "
            "date.",
            "Set ingest_schedule to run once a day at most.",
        )
    return day


def is_sealed(folder: str) -> bool:
    """Return whether a delivery is complete."""
    return storage.exists(storage.join(folder, NOTE))


def read_plan(folder: str, config: DownloadConfig) -> Plan | None:
    """Return the plan of an interrupted download; None if there is none, or if it was made for other parameters."""
    uri = storage.join(folder, PLAN)
    if not storage.exists(uri):
        return None
    plan = Plan.model_validate(storage.read_json(uri))
    return plan if plan.settings == _settings(config) else None


def write_plan(folder: str, config: DownloadConfig, pick: Pick) -> Plan:
    """Write the plan of a download."""
    plan = Plan(settings=_settings(config), pick=pick)
    storage.write_bytes(storage.join(folder, PLAN), json.dumps(plan.json_values()).encode())
    return plan


def _settings(config: DownloadConfig) -> dict[str, object]:
    return config.part(PICKING)


def held_images(landing: str, date: datetime.date) -> set[str]:
    """Return the images that a new delivery must not hold again.

    These are the images in the other deliveries, whatever their date, those that an unfinished download has picked, and
    those that an earlier download found nowhere.
    """
    uri = storage.normalize(landing)
    if not storage.exists(uri):
        return set()
    names = [name for name in dated_folders(uri) if name != date.isoformat()]
    return {image for name in names for image in _held_by(storage.join(uri, name))}


def _held_by(folder: str) -> Iterator[str]:
    if not is_sealed(folder):
        if storage.exists(plan := storage.join(folder, PLAN)):
            for images in Plan.model_validate(storage.read_json(plan)).pick.images.values():
                yield from images
        return
    for file in find_release(folder).tables["images"].values():
        yield from _read(file, "ImageID")["ImageID"]
    if storage.exists(failures := storage.join(folder, FAILURES)):
        yield from _read(failures, "ImageID", "Lasting").filter(pl.col("Lasting") == "1")["ImageID"]


def _read(uri: str, *columns: str) -> pl.DataFrame:
    with storage.open_plain(uri) as file:
        return pl.read_csv(io.BytesIO(file.read()), columns=list(columns), infer_schema=False)
