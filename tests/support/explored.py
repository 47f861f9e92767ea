"""Runs whose data stages are made by hand, to test stage explore without Spark."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.flow.records import ClassCount
from ml.flow.table import STAGES
from ml.release.delivery import Delivery
from ml.vision import images
from ml.workflow import layout
from ml.workflow.execution import make_context
from ml.workflow.manifest import Manifest, commit, list_files
from ml.workflow.run import Run
from support.spark_stages import LABELS

FACE, PERSON = (0.25, 0.5, 0.25, 0.5), (0.125, 0.75, 0.125, 1.0)
EDGES = ("x_min", "x_max", "y_min", "y_max")
COUNTS = {"null": 0, "empty": 0, "nan": 0}
EXTRACTED = {
    "rows": {"labels": 4, "boxes": 9, "images": 5},
    "nulls": {"images": {"Author": {**COUNTS, "null": 3}, "ImageID": COUNTS}},
    "labels": {"repeated": 0, "no verdict": 0, "unknown class": 0},
    "boxes": {"unknown class": 0, "invalid": 0, "kept": 9, "kept invalid": 0, "chipped": 5},
    "images": {"rotation unknown": 0, "turned": 0},
}


def box(image, name, edges=FACE, delivery="release", source="xclick", group=0, depiction=0, valid=True):
    """A row of the table boxes."""
    return {
        **{"image_id": image, "subset": "train", "name": name, "label": LABELS.get(name), "source": source},
        **dict(zip(EDGES, edges, strict=True)),
        **{"is_occluded": 0, "is_truncated": 1, "is_group_of": group, "is_depiction": depiction, "is_inside": -1},
        **{"chipped": name == "Human face", "valid": valid, "delivery": delivery},
    }


def verdict(image, name, positive=True, delivery="release"):
    """A row of the table labels."""
    row = {"image_id": image, "subset": "train", "name": name, "label": LABELS.get(name), "positive": positive}
    return {**row, "delivery": delivery}


def listed(image, rotation=0, delivery="release", author=None):
    """A row of the table images."""
    row = {"image_id": image, "subset": "train", "rotation": rotation, "author": author, "title": f"photo {image}"}
    return {**row, "landing_url": f"https://example.org/{image}", "license": "CC", "delivery": delivery}


def face(image, reason="labelled", label="female", edges=FACE, digest="0", rotation=0, **values):
    """A row of the table faces."""
    return {
        **{"face_id": f"{image}-{digest:0>12}", "image_id": image, "subset": "train", "rotation": rotation},
        **dict(zip(EDGES, edges, strict=True)),
        **{"label": label if reason == "labelled" else None, "reason": reason, "miap_label": None},
        **{"source_class": "Woman", **values},
    }


def person(image, presentation="Predominantly Feminine", edges=PERSON):
    """A row of the table miap."""
    row = {"image_id": image, "subset": "train", "gender_presentation": presentation, "age_presentation": "Middle"}
    row |= dict(zip(EDGES, edges, strict=True))
    return {**row, "is_group_of": 0, "is_depiction": 0, "valid": True, "delivery": "release"}


def chip_of(row, face_px=100.0, occluded=0, age=None):
    """The row of the table chips for a labeled face."""
    known = {name: row[name] for name in ("face_id", "image_id", "subset", "label")}
    return {**known, "face_px": face_px, "is_occluded": occluded, "age_presentation": age}


def duplicate(image, other, split="train", other_split="train", distance=2):
    """A row of the table duplicates."""
    ids = {"image_id": image, "other_id": other}
    return {**ids, "split": split, "other_split": other_split, "distance": distance}


class HandMade:
    """A run whose data stages are committed by hand.

    Attributes:
        run: The run.
        photographs: The folder of its photographs.
    """

    def __init__(self, folder, config, deliveries=("release",)):
        release = folder / "release"
        made = tuple(
            Delivery(name=name, uri=str(release), tables="t", photographs="p", version="V5") for name in deliveries
        )
        self.photographs = release / "train"
        self.photographs.mkdir(parents=True)
        root = storage.normalize(str(folder / "storage"))
        self.run = Run(root, "run", "run", config, {"tables": "t", "photographs": "p"}, None, made)

    def photograph(self, image, size=(64, 128), top=(200, 0, 0)):
        """Write a photograph whose upper half has a color and whose lower half is gray."""
        pixels = np.full((*size, 3), 128, np.uint8)
        pixels[: size[0] // 2] = top
        (self.photographs / f"{image}.jpg").write_bytes(images.encode_jpeg(pixels))

    def commit(self, stage, tables, metrics=None, ledger=None, **files):
        """Commit an attempt with tables from rows."""
        key_uri = layout.key_uri(self.run.root, stage, "0a")
        uri = layout.attempt_uri(key_uri, "first")
        for name, rows in tables.items():
            buffer = io.BytesIO()
            pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), buffer)
            storage.write_bytes(storage.join(uri, name, "part-0.parquet"), buffer.getvalue())
        for name, value in files.items():
            storage.write_json(storage.join(uri, f"{name}.json"), value)
        manifest = Manifest(
            **{"stage": stage, "version": 1, "key": "0a", "attempt": "first", "uri": uri, "config": {}, "inputs": {}},
            **{"sources": {}, "metrics": metrics or {}, "ledger": ledger or {}, "versions": {}},
            **{"files": list_files(uri), "started": "2026-01-01", "finished": "2026-01-01"},
        )
        commit(key_uri, manifest)
        self.run.pin(manifest)

    def done(
        self,
        boxes,
        labels,
        images,
        faces,
        chips,
        chip_ledger=None,
        miap=(),
        agreement=None,
        duplicates=(),
        extracted=None,
        quarantine=(),
    ):
        """Commit all data stages and return the context of stage explore."""
        classes = [ClassCount(mid="/m/0dzct", name="Human face", positive=9, negative=1).json_values()]
        tables = {"boxes": boxes, "labels": labels, "images": images, **({"miap": miap} if miap else {})}
        tables |= {"quarantine": quarantine} if quarantine else {}
        self.commit("extract", tables, EXTRACTED | (extracted or {}), images_by_class=classes)
        reasons = [row["reason"] for row in faces]
        joined = {"faces": len(faces), "labelled": {}, "flags unknown": {}, "miap": agreement, "asked": {}}
        ledger = {reason: reasons.count(reason) for reason in ("labelled", "group", *sorted(set(reasons)))}
        self.commit("join_labels", {"faces": faces}, joined, ledger)
        counted = {"chipped": len(chips), "image absent": 0, "image unreadable": 0, "too small": 0}
        self.commit("chip", {"chips": chips}, ledger={**counted, **(chip_ledger or {})})
        names = self.run.config.label_order
        features = {
            **{"labels": names, "chip_size": 64, "chip_class": self.run.config.chip_class, "margin": 0.2},
            **{"faces": {"train": dict.fromkeys(names, 2)}, "channel_sums": {}, "label_sums": {}},
        }
        self.commit("featurize", {"duplicates": duplicates} if duplicates else {}, features)
        return make_context(self.run, STAGES["explore"], "one")
