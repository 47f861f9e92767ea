"""Runs whose committed tables are made by hand, to test exports without Spark."""

import io
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.outputs import OUTPUTS
from ml.features.reader import split_table
from ml.flow.table import STAGES
from ml.release.delivery import HELD, UNDATED, Delivery
from ml.vision import images
from ml.workflow import layout
from ml.workflow.collect import combine
from ml.workflow.run import Run
from support.attempts import commit_attempt

BY = "https://creativecommons.org/licenses/by/2.0/"
BOX = (0.125, 0.375, 0.25, 0.75)  # x_min, x_max, y_min, y_max


@dataclass
class Photograph:
    """A photograph: its number, which makes its id, and what the release says of it."""

    number: int
    subset: str = "train"
    size: tuple[int, int] = (64, 48)
    author: str | None = "Ann"
    title: str | None = "A title"
    license: str | None = BY
    rotation: int = 0
    delivery: str = UNDATED
    data: bytes | None = None  # in place of a drawn photograph; empty if there is no file

    @property
    def id(self) -> str:
        return f"{self.number:016x}"


@dataclass
class Face:
    """A face: where it is, what the stages made of it, and its encoded chip."""

    photograph: Photograph
    label: str | None = "female"
    box: tuple[float, float, float, float] = BOX
    reason: str = "labelled"
    split: str | None = ""  # of featurize: by default the subset, None for a near-duplicate
    chipped: bool = True
    source: str = "xclick"
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.photograph.id}-{hash(self.box) & (1 << 48) - 1:012x}"

    @property
    def chip(self) -> bytes:
        shade = int(self.id[-2:], 16)
        return images.encode_jpeg(np.full((40, 40, 3), (shade, 128, 255 - shade), np.uint8))


def make_run(root, faces, deliveries=(UNDATED,), features=True, replaced=(), unlisted=(), **values):
    """Commit the tables of the data stages for some faces, write their photographs, and return the run.

    Args:
        root: A folder.
        faces: The faces; their photographs are listed.
        deliveries: The names of the deliveries.
        features: Whether stage featurize was done.
        replaced: Photographs as earlier deliveries listed them.
        unlisted: Photographs without faces.
        values: Fields of the configuration.
    """
    made = tuple(Delivery(name=name, uri=str(root / name), tables="t", photographs="p") for name in deliveries)
    config = TrainingConfig(**values)
    run = Run(
        storage.normalize(root / "storage"), "run", "run", config, {"tables": "t", "photographs": "p"}, None, made
    )
    run.write()
    shown = list({face.photograph.id: face.photograph for face in faces}.values())
    for photograph in shown:
        _draw(root, photograph)
    listed = [*shown, *replaced, *unlisted]
    of = {"images": [_image(row) for row in listed]}
    _commit(run, "extract", {name: _of_extract(of["images"], name) for name in deliveries}, {})
    labeled = [face for face in faces if face.reason == "labelled"]
    reasons = [face.reason for face in faces]
    ledger = {reason: reasons.count(reason) for reason in dict.fromkeys(["labelled", *reasons])}
    _commit(run, "join_labels", {None: {"faces": ("join_labels", "faces", [_face(face) for face in faces])}}, ledger)
    chipped = [face for face in labeled if face.chipped]
    _commit(
        run,
        "chip",
        {
            name: {"chips": ("chip", "chips", [_chip(face) for face in chipped if face.photograph.delivery == name])}
            for name in deliveries
        },
        {"chipped": len(chipped), "too small": len(labeled) - len(chipped)},
    )
    if features:
        parts = {face.id: face.photograph.subset if face.split == "" else face.split for face in chipped}
        tables = {
            split_table(part): (
                "featurize",
                "features",
                [{"face_id": id_} for id_, its in parts.items() if its == part],
            )
            for part in {part for part in parts.values() if part}
        }
        counts = {part: list(parts.values()).count(part) for part in ("train", "validation", "test")}
        left = sum(part is None for part in parts.values())
        _commit(run, "featurize", {None: tables}, {**counts, "near-duplicate of a photograph in another split": left})
    return run


def tables_of(run):
    """The tables that an export reads, as rows: faces, chips and the current images."""
    read = {}
    for stage, name in (("join_labels", "faces"), ("chip", "chips"), ("extract", "images")):
        paths = [storage.local_path(uri) for uri in run.pinned(stage).table(name)]
        read[name] = [row for path in paths for row in pl.read_parquet(path).iter_rows(named=True)]
    return read


def _draw(root, photograph):
    path = root / photograph.delivery / photograph.subset / f"{photograph.id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    if photograph.data is None:
        width, height = photograph.size
        path.write_bytes(images.encode_jpeg(np.full((height, width, 3), 90, np.uint8)))
    elif photograph.data:
        path.write_bytes(photograph.data)


def _image(photograph):
    return {
        "image_id": photograph.id,
        **{name: getattr(photograph, name) for name in ("subset", "rotation", "author", "title", "license")},
        "landing_url": f"https://example.org/{photograph.number}/{photograph.delivery}",
        "delivery": photograph.delivery,
    }


def _of_extract(rows, delivery):
    its = [row for row in rows if row["delivery"] == delivery]
    held = [{"table": "images", "image_id": row["image_id"], "delivery": delivery} for row in its]
    return {"images": ("extract", "images", its), HELD: ("extract", HELD, held)}


def _common(face):
    edges = dict(zip(("x_min", "x_max", "y_min", "y_max"), face.box, strict=True))
    photograph = face.photograph
    return {
        **{"face_id": face.id, "image_id": photograph.id, "subset": photograph.subset, "rotation": photograph.rotation},
        **{"source": face.source, "is_occluded": 0, "is_truncated": -1, "is_group_of": 0, "is_depiction": 0},
        **edges,
        **{"label": face.label if face.reason == "labelled" else None, "delivery": photograph.delivery},
        **face.flags,
    }


def _face(face):
    return {**_common(face), "reason": face.reason, "face_class": "/m/0dzct"}


def _chip(face):
    return {
        **_common(face),
        "face_px": 40.5,
        "image_hash": face.photograph.number,
        "box_aspect": 1.2,
        "chip": face.chip,
    }


def _commit(run, stage, by_delivery, ledger):
    """Commit a stage, with parts if the run has several deliveries and the stage is done by delivery."""
    parts = {}
    for delivery, tables in by_delivery.items():
        files = {f"{name}/part-0.parquet": _parquet(*table) for name, table in tables.items()}
        parts[delivery] = commit_attempt(
            run.root, stage, f"{stage}-{delivery or 'all'}", files, ledger=ledger, inputs=_inputs(run, stage)
        )
    if len(parts) == 1:
        (manifest,) = parts.values()
    else:
        uri = layout.attempt_uri(layout.key_uri(run.root, stage, "key"), f"{stage}-collected")
        manifest = combine(STAGES[stage], "key", uri, {}, _inputs(run, stage), parts)
        manifest = manifest.model_copy(update={"ledger": ledger})
        storage.write_json(layout.manifest_uri(uri), manifest.model_dump(mode="json"))
    run.pin(manifest)


def _inputs(run, stage):
    return {name: run.pinned(name).uri for name in STAGES[stage].inputs}


def _parquet(stage, name, rows):
    schema = OUTPUTS[stage, name].schema()
    full = [{column: row.get(column) for column in schema.names} for row in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(full, schema), buffer, row_group_size=2)
    return buffer.getvalue()
