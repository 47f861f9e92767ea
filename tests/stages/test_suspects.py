"""Stage suspects: planted wrong labels are listed, and the list works as exclude_faces."""

import csv
import dataclasses
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.features.columns import IDS
from ml.features.output_checks import check_table
from ml.features.outputs import OUTPUTS
from ml.features.reader import FeatureReader, split_table
from ml.metrics.records import SuspectsRecord
from ml.model.classifier import Classifier
from ml.model.embedding import Embedder
from ml.stages.suspects import suspects
from ml.workflow.exclusions import EXCLUDED, write_excluded
from ml.workflow.manifest import File
from support.features import make_context, make_features, make_run
from support.models import describe, make_model

FACES = {"train": (60, 60), "validation": (10, 10), "test": (12, 12)}
WRONG = {"train": (3, 8, 11, 40), "validation": (2,), "test": (5, 6)}


def flipped(features):
    """Return the features with some labels flipped, the same number of each label, so that all counts stay."""
    sums = {split: {} for split in FACES}
    for split in FACES:
        given = []
        for uri in features.table(split_table(split)):
            path = storage.local_path(uri)
            table = pq.read_table(path, partitioning=None)
            wrong = np.isin(table["face_id"].to_numpy(zero_copy_only=False), planted(split))
            labels = np.where(wrong, 1 - table["label"].to_numpy(), table["label"].to_numpy())
            column = table.schema.get_field_index("label")
            pq.write_table(table.set_column(column, "label", pa.array(labels, pa.int8())), path, row_group_size=16)
            pixels = np.stack([np.frombuffer(chip, np.uint8) for chip in table["pixels"].to_pylist()]).reshape(-1, 3)
            given.append((np.repeat(labels, len(pixels) // len(labels)), pixels))
        labels, pixels = (np.concatenate(part) for part in zip(*given, strict=True))
        for index, label in enumerate(("female", "male")):
            sums[split][label] = pixels[labels == index].sum(axis=0, dtype=np.int64).tolist()
    faces = {split: dict(zip(("female", "male"), _counts(features, split), strict=True)) for split in FACES}
    metrics = {**features.metrics, "label_sums": sums, "faces": faces}
    files = []
    for file in features.files:
        path = storage.local_path(storage.join(features.uri, file.path))
        files.append(File(path=file.path, bytes=path.stat().st_size, rows=file.rows))
    return features.model_copy(update={"metrics": metrics, "files": files})


def _counts(features, split):
    labels = np.concatenate(
        [pq.read_table(storage.local_path(u), partitioning=None)["label"] for u in features.table(split_table(split))]
    )
    return np.bincount(labels, minlength=2).tolist()


def planted(split):
    return [f"{split}-{row}" for row in WRONG[split]]


EVERY = {face for split in WRONG for face in planted(split)}


@pytest.fixture
def judged(tmp_path):
    """Judge faces with planted wrong labels; the run may have excluded some before."""
    features = flipped(make_features(tmp_path, FACES))

    def run(excluded=None):
        trained = make_model(tmp_path, sharpness=20.0)
        if excluded is not None:
            write_excluded(storage.join(trained.uri, EXCLUDED), excluded)
            exclusion = {"excluded": {"female": len(excluded), "male": 0}, "kept": 0, "unknown": 0}
            listed = File(path=EXCLUDED, bytes=storage.list_files(trained.uri)[EXCLUDED])
            metrics = {**trained.metrics, "exclusion": exclusion}
            trained = trained.model_copy(update={"metrics": metrics, "files": [*trained.files, listed]})
        context = make_context(make_run(tmp_path, features), stage="suspects")
        inputs = {"featurize": features, "train": trained}
        context = dataclasses.replace(context, inputs=inputs, uri=storage.join(storage.normalize(tmp_path), "out"))
        return suspects(context), context

    return run


def rows_of(context):
    return list(csv.DictReader(io.StringIO(storage.read_bytes(context.path("suspects.csv")).decode())))


def test_planted_wrong_labels_are_listed_first(judged):
    result, context = judged()
    rows = rows_of(context)
    assert {row["face_id"] for row in rows} <= EVERY
    assert len(rows) >= len(EVERY) // 3, "where the model errs on no face, a third of them are the surest"
    assert [int(row["rank"]) for row in rows] == sorted(int(row["rank"]) for row in rows)
    for row in rows:
        assert row["label"] != row["predicted"]
        assert float(row["probability"]) == pytest.approx(1 - float(row["score"]), abs=2e-4)
        assert row["image_id"] == row["face_id"].replace("-", "-image-")
        assert (row["split"], row["excluded"]) == (row["face_id"].split("-")[0], "no")
    record = SuspectsRecord.model_validate(result.metrics)
    assert (record.faces, record.suspects, record.unjudged, record.excluded) == (164, len(rows), 0, 0)
    by_split = {split: sum(row.suspects for row in record.counts if row.split == split) for split in FACES}
    assert by_split == {split: sum(row["split"] == split for row in rows) for split in FACES}
    assert sum(row.faces for row in record.counts) == 164


def test_all_scores_are_kept_by_rank(judged):
    result, context = judged()
    table = pq.read_table(storage.local_path(result.metrics["scores"]))
    assert table["rank"].to_pylist() == list(range(1, 165))
    assert set(table["face_id"].to_pylist()[: len(EVERY)]) == EVERY
    listed = table.filter(table["suspect"])["face_id"].to_pylist()
    assert listed == [row["face_id"] for row in rows_of(context)]
    assert (np.diff(table["score"].to_numpy()) >= 0).all()
    faults = check_table(table, OUTPUTS["suspects", "scores"])
    assert {fault.split(":")[0] for fault in faults} == {"scores.face_id", "scores.image_id"}, "only ids are made up"


def test_the_page_shows_the_suspects_and_says_what_they_are(judged):
    result, context = judged()
    page = storage.read_bytes(result.metrics["report"]).decode()
    text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
    assert f"{result.metrics['suspects']} of 164" in text
    assert "does not say who is right" in text
    assert "gender presentation as annotators perceived it" in text
    assert "exclude_faces" in text
    assert context.path("suspects.csv") in text
    assert "Licenses" in text
    assert page.count("data:image/png") == 3
    assert not re.search(r'(src|href)="(?!data:image/png|suspects\.csv)', page), "nothing else is loaded"
    assert set(result.metrics["plots"]) == {f"suspects_{split}" for split in FACES}


def test_faces_excluded_before_stay_on_the_list_and_off_the_sheet(judged):
    before = [*planted("train")[:2], "train-0"]  # the last one's label is right
    result, context = judged(excluded=[*before, "test-5"])
    rows = {row["face_id"]: row for row in rows_of(context)}
    assert set(rows) == EVERY | {"train-0"}
    assert {face for face, row in rows.items() if row["excluded"] == "yes"} == set(before), "test keeps its faces"
    assert result.metrics["excluded"] == 3
    assert "left out 3 training faces" in storage.read_bytes(result.metrics["report"]).decode().replace("\n", " ")


def test_an_embedder_gives_what_the_last_layer_takes_on_average_with_the_mirror_image(tmp_path):
    features = make_features(tmp_path, FACES)
    classifier = Classifier.load(make_model(tmp_path))
    batch = next(FeatureReader(features, "test", IDS).batches(100))
    embeddings, probabilities = Embedder(classifier).embed(batch.pixels)
    mirrored = np.ascontiguousarray(batch.pixels[:, :, ::-1])
    mean = (classifier.predict(batch.pixels) + classifier.predict(mirrored)) / 2
    np.testing.assert_allclose(probabilities, mean, atol=1e-6)
    # This network averages over the chip, so that its embedding is the same for the mirror image.
    kernel, bias = classifier.network.layers[-1].get_weights()
    logits = embeddings @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, probabilities, atol=1e-5)


@pytest.mark.parametrize("name", ["compact", "notebook"])
def test_the_networks_have_embeddings(name):
    from ml.networks.table import build_network

    classifier = Classifier(build_network(name, 32, 2), describe(32))
    embedder = Embedder(classifier)
    chips = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8)
    embeddings, _ = embedder.embed(chips)
    assert embeddings.shape == (5, embedder.width)
    assert embedder.width <= 256, "wide embeddings are projected"
    assert np.ptp(embeddings, axis=0).max() > 0
