"""Count the faces of a bucket, and build the record of `join_labels` from the counts of all buckets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.features.columns import ASKED
from ml.flow.records import Agreement, AskedFaces, LabelsRecord, VerifiedPairs
from spark_jobs.faces import COMPARED, FLAGS, LABELLED, REASONS
from spark_jobs.hashing import Hashes, hash_rows
from spark_jobs.labelling import LabelSettings
from spark_jobs.lookups import mapped, true


def count_faces(faces: pa.Table, settings: LabelSettings) -> dict[str, int]:
    """Count faces by reason, label and unknown flag, and what is asked of each delivery; find impossible faces."""
    counts = {"faces": len(faces), **dict.fromkeys(REASONS, 0)}
    counts |= _values(faces.column("reason")) | {f"label.{label}": 0 for label in settings.labels}
    counts |= {f"label.{label}": count for label, count in _values(faces.column("label")).items()}
    counts |= {f"unknown.{flag}": int(true(pc.equal(faces.column(flag), -1)).sum()) for flag in FLAGS}
    return counts | find_faults(faces, settings) | _asked(faces, settings.deliveries)


def _values(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column.drop_null()).to_pylist()}


def fault_names(settings: LabelSettings) -> tuple[str, ...]:
    """Return the names of the faults that `find_faults` counts."""
    return ("are of another class", *(("have a label that no box gives",) if _meanings(settings) else ()))


def find_faults(faces: pa.Table, settings: LabelSettings) -> dict[str, int]:
    """Count impossible faces: of another class, or with a label that no box explains."""
    faults = [~true(pc.equal(faces.column("face_class"), settings.chip_class))]
    if meanings := _meanings(settings):
        contained = true(pc.greater_equal(faces.column("source_containment"), settings.containment))
        meant = true(pc.equal(faces.column("label"), mapped(faces.column("source_class"), meanings)))
        faults.append(true(faces.column("label").is_valid()) & ~(contained & meant))
    return {name: int(fault.sum()) for name, fault in zip(fault_names(settings), faults, strict=True)}


def _meanings(settings: LabelSettings) -> Mapping[str, str]:
    """Return the label that each class of a source box gives; empty if labels have no source box."""
    return {"box": settings.classes, "miap": settings.presentations}.get(settings.strategy, {})


def _asked(faces: pa.Table, deliveries: Iterable[str]) -> dict[str, int]:
    """Count the faces to cut from each delivery's photographs, and sum up the hashes of their rows."""
    labelled = faces.filter(pc.equal(faces.column("reason"), LABELLED))
    counts = {}
    for name in deliveries:
        asked = labelled.filter(pc.equal(labelled.column("delivery"), name))
        counts[f"asked.{name}"] = len(asked)
        for seed in (0, 1):
            counts[f"digest.{name}.{seed}"] = _sum(hash_rows(asked.select(list(ASKED)), seed))
    return counts


def _sum(hashes: Hashes) -> int:
    """Add up hashes, whose sum overflows 64 bits; it depends neither on their order nor on how they are divided."""
    half = np.uint64(32)
    return (int((hashes >> half).sum()) << 32) + int((hashes & np.uint64(0xFFFFFFFF)).sum())


def add_up(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Add up the counts of all buckets."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return total


def make_record(seen: Mapping[str, int], settings: LabelSettings) -> LabelsRecord:
    """Build the record from the counts of all buckets."""
    agreement = {
        subset: {
            strategy: Agreement(
                agree=seen[f"{subset}.{strategy}.agree"],
                disagree=seen[f"{subset}.{strategy}.disagree"],
                miap_unknown=seen[f"{subset}.{strategy}.miap unknown"],
            )
            for strategy in COMPARED
        }
        for subset in settings.subsets
    }
    return LabelsRecord(
        faces=seen["faces"],
        labelled={label: seen[f"label.{label}"] for label in settings.labels},
        flags_unknown={flag: seen[f"unknown.{flag}"] for flag in FLAGS},
        miap=agreement or None,
        pairs=VerifiedPairs(repeated=seen["labels repeated"], contradicted=seen["labels contradicted"]),
        asked={
            name: AskedFaces(faces=seen[f"asked.{name}"], digest=_digest(seen, name)) for name in settings.deliveries
        },
    )


def _digest(seen: Mapping[str, int], delivery: str) -> str:
    """Return the digest of the faces to cut from a delivery, which is part of the key of its chips."""
    sums = [seen[f"asked.{delivery}"], *(seen[f"digest.{delivery}.{seed}"] for seed in (0, 1))]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:32]
