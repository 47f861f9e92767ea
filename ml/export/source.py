"""The faces of a run as an export reads them: from the committed tables of its stages, never from the release."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.features.columns import EDGES
from ml.features.reader import split_table
from ml.flow.table import STAGES
from ml.guards import check_count
from ml.photographs.source import SUBSETS
from ml.release.contract import KEPT_TEXTS
from ml.report.subject import Subject, subject
from ml.workflow import layout
from ml.workflow.manifest import Manifest
from ml.workflow.run import Run, load_run
from ml.workflow.tables import scan_current, scan_table

CREDITS = tuple(KEPT_TEXTS.values())  # landing_url, license, author, title
PHOTOGRAPH = ("subset", "image_id")
# What annotators said of a face's box. MIAP's presentations are left out: its authors made them to evaluate models, and
# who trains on an export would train on them.
FLAGS = ("is_occluded", "is_truncated")
_CHIP = ("face_id", *PHOTOGRAPH, "label", "rotation", "source", *FLAGS, "face_px")
_LABELED = ("face_id", *PHOTOGRAPH, "label", "rotation", "source", *FLAGS, "is_group_of", "is_depiction", *EDGES)
READ_ROWS = 256  # chips that are in memory at a time, about 20 kB each
READ_BUFFER = 4 << 20  # bytes; without it Arrow reads the whole column of a row group


@dataclass(frozen=True)
class Source:
    """A run whose faces are exported.

    Attributes:
        run: The run.
        manifests: The attempts that it pinned of the stages extract, join_labels, chip and, if it has done that,
            featurize.
    """

    run: Run
    manifests: Mapping[str, Manifest]

    @property
    def subject(self) -> Subject:
        """What the labels are about."""
        return subject(self.run.config)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in order."""
        return self.run.config.label_order

    @property
    def divided_by(self) -> str:
        """The name of the parts that chips are divided into."""
        return "split" if "featurize" in self.manifests else "subset"

    @property
    def made(self) -> datetime.datetime:
        """When the chips were finished: the date of the data, so that two exports of a run are the same."""
        return datetime.datetime.fromisoformat(self.manifests["chip"].finished)

    @property
    def chip_bytes(self) -> int:
        """The size of the table of chips."""
        return sum(file.bytes for part in self.manifests["chip"].of_deliveries() for file in part.files)

    @property
    def attempts(self) -> dict[str, str]:
        """The id of each stage's attempt, which does not say where the storage root is."""
        return {name: layout.attempt_id(manifest.uri) or "" for name, manifest in self.manifests.items()}

    def left_out(self, *stages: str) -> dict[str, dict[str, int]]:
        """Return the boxes that stages left out, by stage and reason, from their ledgers."""
        found = {}
        for name in stages:
            ledger = STAGES[name].ledger
            assert ledger is not None
            counts = self.manifests[name].ledger
            found[name] = {reason: count for reason, count in counts.items() if count and reason != ledger.kept}
        return found

    def labeled_faces(self) -> pl.DataFrame:
        """Return the labeled faces with their boxes and credits, in the order of subset, image and face.

        Raises:
            ProvenanceError: There are more or fewer than join_labels counted.
        """
        ledger = STAGES["join_labels"].ledger
        assert ledger is not None
        labeled = self.manifests["join_labels"]
        faces = scan_table(labeled, "faces").filter(pl.col("reason") == ledger.kept).select(_LABELED)
        found = self._with_credits(faces).collect()
        check_count(labeled.ledger[ledger.kept], found.height, "Labeled faces")
        place = pl.col("subset").replace_strict({subset: index for index, subset in enumerate(SUBSETS)})
        return found.sort(place, "image_id", "face_id")

    def chips(self) -> pl.DataFrame:
        """Return a row for each chip, without its pixels: its part, what is known of the face, and its credits.

        The part is the split of stage featurize, NULL for a near-duplicate of a photograph in another split; without
        that stage, it is the subset of the release. The rows are in the order of face ids.

        Raises:
            ProvenanceError: Rows are missing, or featurize was done with other chips.
        """
        if not self.manifests["chip"].rows("chips"):  # then there may be no file to read
            return pl.DataFrame(schema=dict.fromkeys((*_CHIP, *CREDITS, "part"), pl.String))
        chips = self._with_credits(scan_table(self.manifests["chip"], "chips").select(_CHIP))
        if (features := self.manifests.get("featurize")) is None:
            found = chips.with_columns(pl.col("subset").alias("part")).collect()
        else:
            splits = _splits(features)
            found = chips.join(splits.lazy(), on="face_id", how="left").collect()
            check_count(splits.height, found["part"].count(), "Faces of stage featurize that have a chip")
        check_count(self.manifests["chip"].rows("chips"), found.height, "Chips")
        return found.sort("face_id")

    def encoded(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield these rows of `chips` in batches with the encoded chips, in the order of the table of chips.

        Args:
            rows: Rows of `chips`, sorted by face id.

        Raises:
            ProvenanceError: A row has no chip.
        """
        count = 0
        for uri in self.manifests["chip"].table("chips"):
            with storage.open_read(uri) as opened:
                file = pq.ParquetFile(opened, buffer_size=READ_BUFFER)
                for batch in file.iter_batches(READ_ROWS, columns=["face_id", "chip"]):
                    chips = pl.DataFrame(pl.from_arrow(batch))
                    # Chips of a file are of neighboring images, and an id begins with the image's.
                    ids = chips["face_id"].sort()
                    start = rows["face_id"].search_sorted(ids[0], side="left")
                    end = rows["face_id"].search_sorted(ids[-1], side="right")
                    found = chips.join(rows[start:end], on="face_id", maintain_order="left")
                    count += found.height
                    if found.height:
                        yield found
        check_count(rows.height, count, "Chips to export")

    def _with_credits(self, faces: pl.LazyFrame) -> pl.LazyFrame:
        """Add the credits of each face's photograph; what the release leaves blank is NULL."""
        stated = [pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in CREDITS]
        images = scan_current(self.manifests["extract"], "images").select(*PHOTOGRAPH, *stated)
        wanted = images.join(faces.select(PHOTOGRAPH).unique(), on=PHOTOGRAPH, how="semi")
        once = wanted.sort(*PHOTOGRAPH, *CREDITS, nulls_last=True).unique(PHOTOGRAPH, keep="first")
        return faces.join(once, on=PHOTOGRAPH, how="left")


def open_source(uri: str) -> Source:
    """Open a run to export its faces.

    Raises:
        ConfigurationError: There is no such run, or it is not a training run.
        DataError: It has not yet cut its chips, or the chips, faces and features do not belong together.
    """
    run = load_run(uri)
    if not isinstance(run.config, TrainingConfig):
        raise ConfigurationError(f"{uri} is not a training run, so it has no labeled faces.", "Name a training run.")
    manifests = {name: run.pinned(name) for name in ("extract", "join_labels", "chip")}
    if run.has_pinned("featurize"):
        manifests["featurize"] = run.pinned("featurize")
    for name, manifest in manifests.items():
        for other, attempt in manifest.inputs.items():
            if other in manifests and _key(attempt) != _key(manifests[other].uri):
                raise DataError(
                    f"Stage {name} of run {run.run_id} was done with another output of stage {other}.",
                    f"Run stage {name} first.",
                )
    return Source(run, manifests)


def _key(attempt: str) -> str:
    """Return the key that an attempt belongs to; another attempt of the key holds the same content."""
    return layout.key_of_attempt(layout.attempt_id(attempt) or attempt)


def _splits(features: Manifest) -> pl.DataFrame:
    """Return the split of each face, as columns face_id and part."""
    parts = []
    for split in SUBSETS:
        if features.table(split_table(split)):
            part = scan_table(features, split_table(split)).select("face_id", pl.lit(split).alias("part"))
            parts.append(part.collect())
    return pl.concat(parts) if parts else pl.DataFrame(schema={"face_id": pl.String, "part": pl.String})
