"""The records of a whole flow yield the profile of its data, which has not drifted from itself."""

from types import SimpleNamespace

from ml.metrics.drift import measure_drift
from ml.stages.drift import data_profile


def test_the_stages_of_a_run_yield_its_profile(done):
    inputs = {name: manifest for name, manifest in done.pins().items() if name not in ("train", "evaluate")}
    found = data_profile(SimpleNamespace(run=done.view, inputs=inputs))
    faces = inputs["featurize"].rows("features")
    assert set(found.categories) >= {"labels", "splits", "outcomes", "chips", "agreement"}
    assert {sum(found.categories[name].values()) for name in ("labels", "splits")} == {faces}
    assert found.categories["chips"]["chipped"] == faces
    assert [sum(each.counts) for each in found.histograms.values()] == [faces, faces]
    assert found.rows["images"] > 0
    assert found.as_of == done.as_of
    drift = measure_drift(found, found)
    assert drift.level == "none"
    assert {shift.psi for shift in drift.whole.shifts} == {0.0}
