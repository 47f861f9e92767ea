"""The tables keep the columns, types and order that they have had: attempts and keys made before depend on them."""

import pyarrow as pa
import pytest

from ml.features import columns
from ml.features.columns import FACE_COLUMNS, SLICINGS, Column, Origin, arrow_schema, ddl, names
from ml.features.record import FeaturesRecord
from ml.features.spec import ChipSpec
from ml.flow.records import ChipsRecord
from ml.metrics.slices import slice_names
from spark_jobs import chipping, cutting, featurize

STATED = {
    "labels": ["female", "male"],
    "chip_size": 96,
    "chip_class": "Human face",
    "margin": 0.2,
    "faces": {"train": {"female": 1, "male": 2}},
    "channel_sums": {"train": [1, 2, 3]},
    "label_sums": {"train": {"female": [1, 1, 1], "male": [0, 1, 2]}},
    "histograms": {},
}


def test_join_labels_digests_the_same_columns_in_the_same_order():
    """The digest of the faces asked of a delivery is part of the key of its chips."""
    assert ", ".join(columns.ASKED) == (
        "face_id, image_id, subset, rotation, x_min, x_max, y_min, y_max, label, source, is_occluded, is_truncated, "
        "miap_label, age_presentation, source_class"
    )


def test_the_table_of_chips():
    assert ddl(chipping.SCHEMA) == (
        "face_id string, image_id string, subset string, rotation int, label string, source string, "
        "is_occluded tinyint, is_truncated tinyint, miap_label string, age_presentation string, "
        "source_class string, face_px double, image_hash long, box_aspect double, chip binary"
    )
    assert arrow_schema(chipping.SCHEMA).types == [
        *(pa.string(), pa.string(), pa.string(), pa.int32(), pa.string(), pa.string(), pa.int8(), pa.int8()),
        *(pa.string(), pa.string(), pa.string(), pa.float64(), pa.int64(), pa.float64(), pa.binary()),
    ]


def test_the_table_of_features():
    assert ddl(featurize.SCHEMA) == (
        "split string, face_id string, image_id string, label tinyint, rotation int, face_px double, "
        "is_occluded tinyint, is_truncated tinyint, source string, miap_label string, age_presentation string, "
        "source_class string, image_hash long, box_aspect double, brightness double, red long, green long, blue long, "
        "pixels binary"
    )


def test_the_order_of_the_slices_is_that_of_the_report():
    assert ", ".join(SLICINGS) == (
        "age_presentation, source_class, face_px, is_occluded, is_truncated, source, rotation, brightness"
    )


def test_slices_read_columns_that_features_have():
    assert set(columns.EVALUATED) | set(columns.IDS) <= set(names(featurize.SCHEMA))


def test_each_column_has_an_arrow_type_and_what_chip_measures_is_an_attribute():
    assert len(set(names(FACE_COLUMNS))) == len(FACE_COLUMNS)
    assert all(isinstance(column.arrow, pa.DataType) for column in FACE_COLUMNS)
    assert {column.name for column in FACE_COLUMNS if column.origin is Origin.CHIP} <= set(cutting.Cut.__annotations__)
    assert {column.name for column in FACE_COLUMNS if column.origin is Origin.IMAGE} <= set(
        cutting.Image.__annotations__
    )


def test_a_type_without_counterpart_in_arrow_is_not_guessed():
    with pytest.raises(KeyError):
        _ = Column("when", "timestamp", Origin.FACE).arrow


def test_edges_belong_to_the_range_above_them():
    assert slice_names(SLICINGS["face_px"], [47.9, 48.0]).tolist() == ["below 48 px", "48 to 64 px"]


def test_the_manifest_of_features_is_written_as_it_is_read():
    record = FeaturesRecord.model_validate(STATED)
    assert list(record.json_values().items()) == list(STATED.items())
    assert record.spec == ChipSpec(labels=("female", "male"), chip_size=96, chip_class="Human face", margin=0.2)


def test_the_manifest_of_chips_is_written_as_it_is_read():
    faults = {"image absent": 1, "image unreadable": 0}
    stated = {"images": 3, "photograph faults": faults, "photograph warnings": 2}
    record = ChipsRecord.model_validate(stated)
    assert record.photograph_faults["image absent"] == 1
    assert list(record.json_values().items()) == list(stated.items())
