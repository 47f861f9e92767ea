"""The layout of a storage root. Only this module makes or parses paths in it.

runs/<slug>/
    run.json                                       the run as it was opened
    pins/<stage>[.<delivery>].json                 the attempts that the run uses
    reference.json                                 the earlier run that a training run's data are compared with
    progress.json                                  how far the run's training has come, while it trains
    promotion.json, verdict.json, decision.json    of a promotion
    photographs.parquet                            of a prediction
stages/<stage>/<key>/
    current.json                                   names the key's newest attempt
    lease-<number>.json                            names the job that does the key's work, while it does
    attempts/<attempt>/
        _job.json                                  written first; names the job that writes the attempt
        manifest.json                              written last
        error.json                                 why the job failed
        _removing.json                             marks an attempt that a clean-up is removing
    checkpoints/<slug>/                            of a training that has not finished
digests/, listings/                                caches of what is computed once per delivery
annotations/                                       cache of annotation files, for downloads
registry/<model>/lease-<number>.json               names the process that changes a registered model, while it does
maintenance/<plan>.json                            plans of clean-ups
mlflow/mlflow.db                                   MLflow's database; its artifacts are next to it
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ml import storage
from ml.release.delivery import DeliveryCache

RUN_FILE = "run.json"
MANIFEST, ERROR = "manifest.json", "error.json"
PROFILE = "profile.json"  # of stage evaluate
# The underscore hides both from `storage.list_files` and from Spark. `ml.retention.remove` explains their purpose.
CLAIM = "_job.json"
REMOVAL = "_removing.json"
# Ignores the root, which may be mounted elsewhere or have another scheme.
_ATTEMPT = re.compile(r"/stages/([^/]+/[^/]+)/attempts/([^/]+)/?$")
_LEASE = re.compile(r"lease-(\d+)\.json")
# The name of a file that is still being written starts with a dot.
_PIN = re.compile(r"pins/([^./][^/]*)\.json")


# --- runs


def runs_uri(root: str) -> str:
    """Return the folder of all run folders."""
    return storage.join(root, "runs")


def run_uri(root: str, slug: str) -> str:
    """Return the folder of a run."""
    return storage.join(runs_uri(root), slug)


def split_run_uri(uri: str) -> tuple[str, str]:
    """Return the storage root and the slug of a run folder."""
    root, _, slug = storage.normalize(uri).rpartition("/runs/")
    return root, slug


def run_file_uri(run: str) -> str:
    """Return the `run.json` of a run folder."""
    return storage.join(run, RUN_FILE)


def pins_uri(run: str) -> str:
    """Return the folder of a run's pins."""
    return storage.join(run, "pins")


def pin_uri(run: str, stage: str, delivery: str | None = None) -> str:
    """Return the pin of a stage, or of its part for one delivery."""
    return storage.join(pins_uri(run), f"{stage}.{delivery}.json" if delivery else f"{stage}.json")


def pin_name(path: str) -> str | None:
    """Return `<stage>[.<delivery>]` from a pin's path in the run folder; None for any other file."""
    found = _PIN.fullmatch(path)
    return found[1] if found else None


def reference_uri(run: str) -> str:
    """Return the file with the reference that a training run's data are compared with."""
    return storage.join(run, "reference.json")


def progress_uri(run: str) -> str:
    """Return the file that says how far a run's training has come."""
    return storage.join(run, "progress.json")


def promotion_uri(run: str) -> str:
    """Return the file that names a promotion's candidate and champion."""
    return storage.join(run, "promotion.json")


def verdict_uri(run: str) -> str:
    """Return the file with the gate's verdict in a promotion."""
    return storage.join(run, "verdict.json")


def decision_uri(run: str) -> str:
    """Return the file with the outcome of a promotion."""
    return storage.join(run, "decision.json")


def photographs_uri(run: str) -> str:
    """Return the file that lists a prediction's photographs."""
    return storage.join(run, "photographs.parquet")


# --- attempts


def stages_uri(root: str) -> str:
    """Return the folder of all stages."""
    return storage.join(root, "stages")


def stage_uri(root: str, stage: str) -> str:
    """Return the folder of a stage."""
    return storage.join(stages_uri(root), stage)


def key_uri(root: str, stage: str, key: str) -> str:
    """Return the folder of a stage's key."""
    return storage.join(stage_uri(root, stage), key)


def pointer_uri(key: str) -> str:
    """Return the file that names the newest attempt of a key, given the key's folder."""
    return storage.join(key, "current.json")


def lease_uri(folder: str, number: int) -> str:
    """Return a lease in the folder of a key or of a registered model."""
    return storage.join(folder, f"lease-{number}.json")


def lease_number(name: str) -> int | None:
    """Return the number of a lease, given its file's name; None for any other file."""
    found = _LEASE.fullmatch(name)
    return int(found[1]) if found else None


def attempts_uri(key: str) -> str:
    """Return the folder of a key's attempts, given the key's folder."""
    return storage.join(key, "attempts")


def attempt_uri(key: str, name: str) -> str:
    """Return the folder of an attempt, given the key's folder."""
    return storage.join(attempts_uri(key), name)


def attempt_name(uri: str) -> str:
    """Return the name of an attempt, which is unique in a storage root."""
    return uri.rstrip("/").rpartition("/")[2]


def key_of_attempt(uri: str) -> str:
    """Return the folder of an attempt's key."""
    return uri.rstrip("/").rpartition("/attempts/")[0]


def all_checkpoints_uri(key: str) -> str:
    """Return the folder of all runs' checkpoints, given the key's folder."""
    return storage.join(key, "checkpoints")


def checkpoints_uri(key: str, slug: str) -> str:
    """Return the folder of a run's checkpoints, given the key's folder."""
    return storage.join(all_checkpoints_uri(key), slug)


def key_of_lease(uri: str) -> str:
    """Return the folder of the lease's key."""
    return uri.rpartition("/")[0]


def key_of_checkpoints(uri: str) -> str:
    """Return the folder of the checkpoints' key."""
    return uri.rpartition("/checkpoints/")[0]


def manifest_uri(attempt: str) -> str:
    """Return the manifest of an attempt, whose presence commits it."""
    return storage.join(attempt, MANIFEST)


def profile_uri(attempt: str) -> str:
    """Return the file of an attempt of stage evaluate with the profile of its run's data."""
    return storage.join(attempt, PROFILE)


def error_uri(attempt: str) -> str:
    """Return the file that says why an attempt failed."""
    return storage.join(attempt, ERROR)


def claim_uri(attempt: str) -> str:
    """Return the claim of an attempt: the file that names the job that writes it."""
    return storage.join(attempt, CLAIM)


def removal_uri(attempt: str) -> str:
    """Return the file that marks an attempt as being removed."""
    return storage.join(attempt, REMOVAL)


def list_committed(root: str, stage: str) -> list[str]:
    """Return the folder of every attempt of a stage that has a manifest."""
    fs, path = storage.filesystem(stage_uri(root, stage))
    found = fs.glob(f"{path}/*/attempts/*/{MANIFEST}")
    return [str(fs.unstrip_protocol(each)).removesuffix(f"/{MANIFEST}") for each in found]


class StagePath(NamedTuple):
    """A file below `stages/`.

    Attributes:
        kind: `attempts`, `checkpoints` or `lease`.
        folder: The attempt, or the checkpoints of a run: `<stage>/<key>/<kind>/<name>`. The lease itself.
        inner: The file's path in that folder; empty for a lease.
    """

    kind: str
    folder: str
    inner: str


def parse_stage_path(path: str) -> StagePath | None:
    """Parse the path of a file below `stages/`; return None unless it is of an attempt or checkpoints, or a lease."""
    stage, key, kind, name, inner = [*path.split("/", 4), *[""] * 4][:5]
    if not name and lease_number(kind) is not None:
        return StagePath("lease", path, "")
    if kind not in ("attempts", "checkpoints") or not inner:
        return None
    return StagePath(kind, "/".join((stage, key, kind, name)), inner)


# --- ids of attempts, which do not depend on the root


def attempt_id(uri: str) -> str | None:
    """Return `<stage>/<key>/attempts/<name>` from an attempt's URI, or None for any other URI."""
    found = _ATTEMPT.search(uri)
    return f"{found[1]}/attempts/{found[2]}" if found else None


def attempt_ids(uris: Iterable[str | None]) -> set[str]:
    """Return the ids of the URIs that are attempts."""
    return {attempt for uri in uris if uri and (attempt := attempt_id(uri))}


def uri_of_id(root: str, attempt: str) -> str:
    """Return the folder of an attempt, given its id."""
    return storage.join(stages_uri(root), attempt)


def id_of_uri(root: str, uri: str) -> str:
    """Return the id of an attempt's or checkpoints' folder: its path below `stages/`."""
    return uri.removeprefix(f"{stages_uri(root)}/")


def split_attempt_id(attempt: str) -> tuple[str, str]:
    """Return `<stage>/<key>` and the attempt's name, given its id."""
    key, _, name = attempt.partition("/attempts/")
    return key, name


def current(key: str) -> str | None:
    """Return the name of the attempt that a key's pointer names, given the key's folder; None if it has no pointer."""
    try:
        return str(storage.read_json(pointer_uri(key))["attempt"])
    except FileNotFoundError:
        return None


# --- the rest


def delivery_cache(root: str) -> DeliveryCache:
    """Return the folders that cache what is computed once per delivery."""
    return DeliveryCache(digests=storage.join(root, "digests"), listings=storage.join(root, "listings"))


def registered_model_uri(root: str, model: str) -> str:
    """Return the folder with the leases of a registered model."""
    return storage.join(root, "registry", model)


def annotations_uri(root: str) -> str:
    """Return the folder that caches annotation files for downloads."""
    return storage.join(root, "annotations")


def plans_uri(root: str) -> str:
    """Return the folder of clean-up plans."""
    return storage.join(root, "maintenance")


def plan_uri(root: str, name: str) -> str:
    """Return the file of a clean-up plan."""
    return storage.join(plans_uri(root), f"{name}.json")


def mlflow_uri(root: str) -> str:
    """Return the folder of MLflow's own store."""
    return storage.join(root, "mlflow")


def mlflow_database_uri(root: str) -> str:
    """Return MLflow's database."""
    return storage.join(mlflow_uri(root), "mlflow.db")
