"""It learns what there is to learn, and nothing where there is nothing: on the drawn release the lower bound of the
compact network's accuracy lies above the majority baseline, and with shuffled training labels it does not. What README
promises of the demo, which is the same training, holds.
"""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.commands.summary import main_metrics
from ml.config.training import TrainingConfig
from ml.features.reader import channel_sums, chips, split_table
from ml.flow.table import STAGES
from ml.metrics.records import EvaluationRecord
from ml.sample.release import write_sample_release
from ml.stages.evaluate import evaluate
from ml.stages.train import train
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from support.spark_stages import BODIES, do

pytestmark = pytest.mark.slow
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def prepared(spark, tmp_path_factory):
    """Opens runs on a release as large as the demo's, all its data stages done."""
    folder = tmp_path_factory.mktemp("learning")
    write_sample_release(folder / "release", scenes=240)

    def open_(run_id, **values):
        values = {"release": str(folder / "release"), **values}
        return do(spark, open_run(str(folder / "storage"), run_id, values), *BODIES, "explore")

    return open_


def metrics(run):
    run_stage(run, STAGES["train"], train)
    return run_stage(run, STAGES["evaluate"], evaluate).metrics


@pytest.fixture(scope="module")
def demo(prepared):
    """The metrics of the demo: the default training on the default drawn release."""
    return metrics(prepared("true"))


def test_the_compact_network_learns_the_drawn_cue(demo):
    assert demo["accuracy"]["low"] > demo["majority"]["value"]
    assert demo["beats_majority"]


def test_the_demo_gives_the_figures_of_the_readme_within_the_tolerance_that_it_states(demo):
    text = README.read_text()
    stated = {name.strip(): float(value) for name, value in re.findall(r"^│ ([\w() ]+?) +│ +(\d\.\d+) │", text, re.M)}
    tolerance = re.search(r"\brepeat within (0\.\d+)", text)
    assert tolerance, "README states how far the demo's figures repeat"
    found = {name: estimate.defined for name, estimate in main_metrics(EvaluationRecord.model_validate(demo))}
    assert list(found) == list(stated)
    assert found == pytest.approx(stated, abs=float(tolerance[1]) + 0.0005)  # README rounds to three decimals


def test_shuffled_training_labels_teach_nothing(prepared):
    run = prepared("shuffled", epochs=TrainingConfig().epochs // 3)
    run.pin(with_shuffled_labels(run.pinned("featurize")))
    found = metrics(run)
    assert found["accuracy"]["low"] <= found["majority"]["value"]
    assert not found["beats_majority"]


def with_shuffled_labels(features):
    """A copy of a features attempt whose training labels are dealt out anew; validation and test stay true."""
    uri = features.uri + "-shuffled"
    # The sums by label say what belongs to which label; here that is a lie of the test's own.
    sums = {label: np.zeros(3, np.int64) for label in features.metrics["labels"]}
    for file in features.files:
        data = storage.read_bytes(features.file(file.path))
        if file.path.startswith(split_table("train") + "/"):
            table = pq.read_table(pa.BufferReader(data))
            labels = np.random.default_rng(5).permutation(table["label"].to_numpy())
            pixels = chips(table["pixels"].combine_chunks(), features.metrics["chip_size"])
            for index, of_label in enumerate(sums.values()):
                of_label += channel_sums(pixels[labels == index]).astype(np.int64)
            place = table.schema.get_field_index("label")
            buffer = pa.BufferOutputStream()
            pq.write_table(table.set_column(place, "label", pa.array(labels, pa.int8())), buffer)
            data = buffer.getvalue().to_pybytes()
        storage.write_bytes(storage.join(uri, file.path), data)
    told = {**features.metrics["label_sums"], "train": {label: found.tolist() for label, found in sums.items()}}
    metrics = {**features.metrics, "label_sums": told}
    update = {"uri": uri, "attempt": features.attempt + "-shuffled", "metrics": metrics}
    copied = features.model_copy(update=update)
    storage.write_bytes(storage.join(uri, "manifest.json"), copied.model_dump_json().encode())
    return copied
