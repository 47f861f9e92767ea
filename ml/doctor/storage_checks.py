"""Checks of the files: the storage root, room on disks, the release."""

from __future__ import annotations

import datetime
import os
import shutil
import uuid
from pathlib import Path

from ml import storage
from ml.config.deployment import Deployment
from ml.doctor.finding import Answer, State
from ml.release.delivery import UNDATED
from ml.release.landing import find_deliveries
from ml.release.layout import SUBSETS
from ml.release.release import check_classes, read_classes

GIGABYTE = 1e9
LITTLE, TOO_LITTLE = 20.0, 2.0  # GB free


def check_storage(root: str) -> Answer:
    """All that stages do to files, done to one."""
    uri = storage.join(storage.normalize(root), f"doctor-{uuid.uuid4().hex[:8]}", "probe")
    advice = "Give this user the right to it, or correct `storage` in the deployment's file."
    content = os.urandom(1024)
    try:
        storage.write_bytes(uri, content)
        if storage.read_bytes(uri) != content or storage.survey(uri.rpartition("/")[0])["probe"].bytes != 1024:
            return "fault", f"{root} gives back something else than was written", advice
        storage.remove(uri.rpartition("/")[0])
        if storage.exists(uri):
            return "fault", f"{root}: a file that was removed is still there", advice
    except Exception as error:  # each file system has its own
        return "fault", f"{root} cannot be written: {error}", advice
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
            advice = "Free some: python -m ml clean-up lists what may go. The whole of Open Images needs hundreds."
    return state, ", ".join(room), advice


def check_release(deployment: Deployment) -> Answer:
    """The annotation files of each delivery, their columns and classes; of photographs, the subsets' folders."""
    config = deployment.defaults
    found = find_deliveries(config.release, config.photographs, datetime.datetime.now(datetime.UTC))
    for release in found.values():
        check_classes(config, read_classes(release))
    newest, release = list(found.items())[-1]
    deliveries = "" if newest == UNDATED else f"{len(found)} deliveries up to {newest}, "
    content = f"{config.release} ({deliveries}{', '.join(release.tables)})"
    missing = [each.photographs.missing() for each in found.values()]
    if absent := [subset for subset in SUBSETS if all(subset in subsets for subsets in missing)]:
        advice = "Download the photographs, or let `photographs` say where they lie."
        return "fault", f"{content}: no photographs in a folder {', '.join(absent)}", advice
    where = " with photographs" if release.holds_photographs else f", photographs at {release.photographs.uri}"
    return "ok", content + where, ""
