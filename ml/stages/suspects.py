"""Stage suspects: lists the faces whose label the model contradicts most surely.

Files written: `suspects.csv`, the list for the parameter `exclude_faces` (suspect labels by rank, and the faces that
the run already excluded); `scores.parquet`, every judged face; contact sheets `suspects_train`, `suspects_validation`
and `suspects_test` (PNG) if the split has suspects; `suspects.html`.
"""

from __future__ import annotations

import csv
import datetime
import io
import logging
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml import storage
from ml.features.reader import FeatureReader
from ml.features.record import FeaturesRecord
from ml.flow.exploration import Credit
from ml.metrics.label_quality import FOLDS
from ml.metrics.records import SuspectCount, SuspectsRecord
from ml.model.embedding import Embedder
from ml.model.record import TrainingRecord
from ml.report.data import SuspectsData
from ml.report.html import render_suspects
from ml.report.subject import subject
from ml.stages.label_scores import SPLITS, score_labels
from ml.stages.photographs import listed_images
from ml.stages.predictions import load_classifier
from ml.vision import drawing, images
from ml.workflow.exclusions import EXCLUDED, read_excluded
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)

SHOWN, COLUMNS, TILE = 24, 6, 180
LIST_COLUMNS = (
    *("rank", "face_id", "image_id", "subset", "split", "label", "predicted", "probability", "score", "excluded"),
)


def suspects(context: Context) -> Result:
    """Judge the label of every face by a model that did not learn from it, and list the suspect ones.

    Raises:
        GuardError: Labels, chip size or pixels differ from those that the model was trained on.
        DataError: The model is damaged, or a split does not match its manifest.
    """
    features, trained = context.inputs["featurize"], context.inputs["train"]
    labels = context.config.label_order
    embedder = Embedder(load_classifier(trained, features, labels))
    left_out = trained.record(TrainingRecord).exclusion is not None
    excluded = read_excluded(trained.file(EXCLUDED)) if left_out else frozenset()
    scores = score_labels(features, embedder, labels, excluded)
    listed = scores.filter(pc.or_(scores["suspect"], scores["excluded"]))
    sheets, shown = _sheets(features, listed)
    extract = context.inputs.get("extract")
    columns = {*Credit.model_fields, "subset"}
    rows = listed_images(extract, set(listed["image_id"].to_pylist()), columns) if extract else []
    subsets = {row["image_id"]: row.pop("subset") for row in rows}
    credits = {row["image_id"]: Credit(**row) for row in rows if row["image_id"] in shown}
    record = _record(context, scores, list(sheets))
    page = SuspectsData(
        run_id=context.run.run_id,
        subject=subject(context.config),
        written=datetime.datetime.now(datetime.UTC),
        counts=record.counts,
        excluded=record.excluded,
        unjudged=record.unjudged,
        folds=FOLDS,
        suspect_list=record.suspect_list,
        figures=sheets,
        credits=[credits[image] for image in sorted(credits)],
    )
    _write(context, scores, _as_csv(listed, subsets), sheets, render_suspects(page))
    log.info("%d of %d labels are suspect; the list is %s", record.suspects, record.faces, record.suspect_list)
    return Result(record)


def _sheets(features: Manifest, listed: pa.Table) -> tuple[dict[str, bytes], list[str]]:
    """Return a contact sheet of the first suspects of each split that has some, by name, and the image ids shown."""
    sheets, shown = {}, []
    for split in SPLITS:
        chosen = pc.and_(pc.equal(listed["split"], split), pc.invert(listed["excluded"]))
        rows = listed.filter(chosen).slice(0, SHOWN).to_pylist()
        if not rows:
            continue
        found = FeatureReader(features, split, ("face_id",)).find([row["face_id"] for row in rows])
        chips = {
            face: chip.copy()
            for batch in found
            for face, chip in zip(batch.columns["face_id"], batch.pixels, strict=True)
        }
        tiles = [(chips[row["face_id"]], _caption(row)) for row in rows]
        sheets[f"suspects_{split}"] = images.encode_png(drawing.contact_sheet(tiles, COLUMNS, TILE))
        shown += [row["image_id"] for row in rows]
    return sheets, shown


def _caption(row: Mapping[str, object]) -> str:
    predicted = f"{row['predicted']} {row['probability']:.1%}"
    return f"#{row['rank']}: labeled {row['label']}\npredicted {predicted}\n{row['image_id']}"


def _record(context: Context, scores: pa.Table, sheets: Sequence[str]) -> SuspectsRecord:
    labels, stated = context.config.label_order, context.inputs["featurize"].record(FeaturesRecord).faces
    groups = scores.group_by(["split", "label"]).aggregate([("rank", "count"), ("suspect", "sum")]).to_pylist()
    found = {(row["split"], row["label"]): (row["rank_count"], row["suspect_sum"]) for row in groups}
    counts = []
    for split in SPLITS:
        for label in labels:
            faces, suspect = found.get((split, label), (0, 0))
            counts.append(SuspectCount(split=split, label=label, faces=faces, suspects=suspect))
    return SuspectsRecord(
        faces=len(scores),
        suspects=sum(row.suspects for row in counts),
        counts=counts,
        excluded=pc.sum(scores["excluded"]).as_py(),
        unjudged=sum(sum(stated[split].values()) for split in SPLITS) - len(scores),
        report=context.path("suspects.html"),
        suspect_list=context.path("suspects.csv"),
        scores=context.path("scores.parquet"),
        plots={name: context.path(f"{name}.png") for name in sheets},
    )


def _as_csv(listed: pa.Table, subsets: Mapping[str, str]) -> bytes:
    """Return the list as CSV; the subset says in which folder of the release the photograph is."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, LIST_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in listed.to_pylist():
        shares = {name: f"{row[name]:.4f}" for name in ("probability", "score")}
        subset, excluded = subsets.get(row["image_id"], ""), "yes" if row["excluded"] else "no"
        writer.writerow({**row, **shares, "subset": subset, "excluded": excluded})
    return text.getvalue().encode()


def _write(context: Context, scores: pa.Table, listed: bytes, sheets: Mapping[str, bytes], page: str) -> None:
    table = io.BytesIO()
    pq.write_table(scores, table)
    storage.write_bytes(context.path("scores.parquet"), table.getvalue())
    storage.write_bytes(context.path("suspects.csv"), listed)
    storage.write_bytes(context.path("suspects.html"), page.encode())
    for name, png in sheets.items():
        storage.write_bytes(context.path(f"{name}.png"), png)
