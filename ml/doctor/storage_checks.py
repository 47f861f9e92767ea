"""Checks of files: the storage root, free disk space, the release."""

from __future__ import annotations

import datetime
import os
import shutil
import uuid
from pathlib import Path

from ml import storage
from ml.config.deployment import Deployment
from ml.doctor.finding import Answer, State
from ml.errors import StageError
from ml.photographs.source import SUBSETS, Columns
from ml.release.delivery import UNDATED
from ml.release.landing import find_deliveries
from ml.release.release import check_classes, read_classes
from ml.store_faults import explain

GIGABYTE = 1e9
LITTLE, TOO_LITTLE = 20.0, 2.0  # GB free


def check_storage(root: str) -> Answer:
    """Check that a file can be written, read, listed and removed below the storage root."""
    uri = storage.join(storage.normalize(root), f"doctor-{uuid.uuid4().hex[:8]}", "probe")
    advice = "Give this user access, or correct `storage` in the deployment's file."
    content = os.urandom(1024)
    try:
        storage.check_root(root)
        storage.write_bytes(uri, content)
        if storage.read_bytes(uri) != content or storage.survey(uri.rpartition("/")[0])["probe"].bytes != 1024:
            return "fault", f"{root} does not return what was written", advice
        storage.remove(uri.rpartition("/")[0])
        if storage.exists(uri):
            return "fault", f"{root}: a removed file still exists", advice
    except StageError as error:
        return "fault", error.message, error.advice
    except Exception as error:  # each file system raises its own types
        explained = explain(error)
        told, advice = (explained.message, explained.advice) if explained else (str(error), advice)
        return "fault", f"{root} cannot be written: {told}", advice
    return "ok", f"{root}: written, read, listed, removed", ""


def check_disk(root: str) -> Answer:
    temporary = os.environ.get("SPARK_LOCAL_DIRS", os.environ.get("TMPDIR", "/tmp")).split(",")
    places = [("temporary files", Path(path.strip())) for path in temporary]
    if path := storage.local_path(root):
        places.insert(0, ("storage", path))
    room: list[str] = []
    state: State = "ok"
    advice = ""
    for name, path in places:
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free / GIGABYTE
        room.append(f"{free:.0f} GB free for {name}")
        if free < LITTLE:
            state = "fault" if free < TOO_LITTLE or state == "fault" else "warning"
            advice = (
                "Free some space: python -m ml clean-up lists what can be removed. "
                "All of Open Images needs hundreds of GB."
            )
    return state, ", ".join(room), advice


def check_release(deployment: Deployment) -> Answer:
    """Check the annotation files of each delivery, their columns and classes, and the folders of photographs."""
    config = deployment.defaults
    now, columns = datetime.datetime.now(datetime.UTC), Columns.parse(config.photograph_columns)
    found = find_deliveries(config.release, config.photographs, now, columns=columns)
    for release in found.values():
        check_classes(config, read_classes(release.classes))
    newest, release = list(found.items())[-1]
    deliveries = "" if newest == UNDATED else f"{len(found)} deliveries up to {newest}, "
    content = f"{config.release} (Open Images {release.version}, {deliveries}{', '.join(release.tables)})"
    missing = [each.photographs.missing() for each in found.values()]
    if absent := [subset for subset in SUBSETS if all(subset in subsets for subsets in missing)]:
        advice = "Download the photographs, or set `photographs` to the place that holds them."
        return "fault", f"{content}: no photographs in a folder {', '.join(absent)}", advice
    where = " with photographs" if release.holds_photographs else f", photographs at {release.photographs.uri}"
    return "ok", content + where, ""
