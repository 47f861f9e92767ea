"""Near-duplicates planted among real faces are found, and none of them is left between the splits."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.features.reader import split_table
from ml.photographs.source import SUBSETS
from ml.workflow.opening import open_run
from spark_jobs.splitting import NEAR_DUPLICATE
from support.spark_stages import do

BUILD = Path(__file__).parents[3] / "shared" / "realfaces" / "build_release.py"
SCENES = 300
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BUILD.exists(), reason="needs ../shared/realfaces")]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    subprocess.run([sys.executable, str(BUILD), str(folder), "--scenes", str(SCENES)], check=True)
    return folder


def columns(uris, *names):
    return [
        tuple(row.values())
        for uri in uris
        for row in pq.read_table(storage.local_path(uri), columns=list(names), partitioning=None).to_pylist()
    ]


@pytest.mark.parametrize("split", ["official", "digest"])
def test_every_planted_pair_is_found_and_no_split_holds_half_of_one(spark, release, tmp_path_factory, split):
    root = str(tmp_path_factory.mktemp("storage"))
    run = do(spark, open_run(root, "run", {"release": str(release), "split": split, "chip_size": 32}), "extract")
    do(spark, run, "join_labels", "chip", "featurize")
    subsets = dict(columns(run.pinned("chip").table("chips"), "image_id", "subset"))
    planted = set()
    for number in range(SCENES):
        pair = [hashlib.sha256(f"{kind}0-{number}".encode()).hexdigest()[:16] for kind in ("", "twin-")]
        if subsets.keys() >= set(pair):
            planted.add(frozenset(pair))
    assert planted
    features = run.pinned("featurize")
    found = columns(features.table("duplicates"), "image_id", "other_id")
    assert {frozenset(pair) for pair in found} == planted
    sides = {name: {image for (image,) in columns(features.table(split_table(name)), "image_id")} for name in SUBSETS}
    for pair in planted:
        assert len({name for name in SUBSETS if sides[name] & pair}) == 1
    crossing = [pair for pair in planted if len({subsets[image] for image in pair}) > 1]
    assert (features.ledger[NEAR_DUPLICATE] > 0) == (split == "official" and bool(crossing))
