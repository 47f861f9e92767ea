"""Exports of a run on the drawn release that has done all Spark stages."""

import pytest

from ml.export.formats import Format
from ml.export.run import export_run
from ml.photographs.source import SUBSETS


@pytest.mark.parametrize("form", ["image-folder", "hugging-face"])
def test_every_chip_in_a_split_is_exported(done, tmp_path, form):
    record = export_run(done.uri, str(tmp_path / "out"), Format(form))
    assert {split: sum(faces.values()) for split, faces in record.faces.items()} == {
        split: done.pinned("featurize").ledger[split] for split in SUBSETS
    }
    left_out = sum(count for reasons in record.left_out.values() for count in reasons.values())
    assert record.total + left_out == done.pinned("join_labels").rows("faces")


def test_every_labeled_face_whose_photograph_has_a_header_is_exported_with_its_box(done, tmp_path):
    record = export_run(done.uri, str(tmp_path / "out"), Format.COCO)
    assert record.total + sum(record.left_out["export"].values()) == done.pinned("join_labels").ledger["labelled"]
    chips = done.pinned("chip").ledger
    assert record.left_out["export"]["image absent"] == chips["image absent"] > 0
    # Of a photograph that is cut short, the header is whole. The size of its boxes is known, although no chip is.
    assert record.total > chips["chipped"]
